"""Confining containers with AppArmor, where the kernel has it."""
