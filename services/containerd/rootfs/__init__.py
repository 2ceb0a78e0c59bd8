"""The root file system of a container: its writable layer, its mount, and careful looks inside."""
