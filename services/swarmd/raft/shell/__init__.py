"""What performs the core's decisions: disk, network, and the one loop between them. `driver.RaftNode` is the way in."""
