"""Logs of containers: the format, reading across rotated files, following, rotating."""
