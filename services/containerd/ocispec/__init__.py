"""Pure: a container's specification and its image's configuration to the OCI runtime's config.json, Docker's way."""
