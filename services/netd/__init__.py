"""netd: networks, sandboxes and published ports of one node."""
