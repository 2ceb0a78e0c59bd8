"""The state of a container's processes on disk, and back: through the OCI runtime, which has CRIU do it."""
