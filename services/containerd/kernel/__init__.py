"""The kernel's own calls that Python does not offer, behind typed functions. No policy."""
