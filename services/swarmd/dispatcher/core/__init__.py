"""What the dispatcher decides. Pure: no await, no clock, no I/O."""
