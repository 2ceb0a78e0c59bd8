"""File systems of containers: stacks of layers, and a writable one on top."""
