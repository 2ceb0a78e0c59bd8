"""The nouns of netd as immutable values. Nothing here decides, reads a clock or touches the kernel."""
