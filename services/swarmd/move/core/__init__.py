"""What a move does next, and whether it may begin. Pure."""
