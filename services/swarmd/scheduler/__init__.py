"""Where tasks run. `core` decides; `services.swarmd.control` runs it on the leader."""
