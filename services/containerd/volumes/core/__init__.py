"""What volumes are and what is decided about them. Pure."""
