"""Layers: archives of changes to a file system, applied to directories and made from them."""
