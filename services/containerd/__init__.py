"""Runs the containers of one node: bundles, conmon, an OCI runtime, and a lifecycle that survives the daemon."""
