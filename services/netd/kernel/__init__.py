"""The kernel: everything that has an effect outside the process, behind the port in `ports`."""
