"""Files in and out of containers and volumes: copies, exports, commits."""
