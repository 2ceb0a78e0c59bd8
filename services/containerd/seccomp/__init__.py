"""Seccomp filters ready for use: resolved per set of capabilities, compiled once, cached."""
