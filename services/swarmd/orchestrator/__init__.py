"""What tasks there should be. `core` decides; `services.swarmd.control` runs it on the leader."""
