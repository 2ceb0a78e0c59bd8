"""What the agent decides. Pure: no await, no clock, no I/O."""
