"""conmon and the OCI runtimes: starting, watching and taking down containers from outside."""
