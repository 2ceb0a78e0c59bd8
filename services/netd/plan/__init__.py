"""From what is recorded to what the kernel is told: desired, observed, and the operations between them. Pure."""
