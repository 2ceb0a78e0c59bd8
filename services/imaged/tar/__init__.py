"""The tar format, read and written: ustar, pax and GNU's extensions. Knows nothing of images or file systems."""
