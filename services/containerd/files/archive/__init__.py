"""A tree on disk as a tar stream and back, relative to the descriptor of its root. Blocks: for worker processes."""
