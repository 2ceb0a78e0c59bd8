"""Decisions: from what is and what is asked to what is to be recorded. Pure: no await, no clock, no I/O."""
