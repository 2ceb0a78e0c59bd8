"""What is kept on disk of containers."""
