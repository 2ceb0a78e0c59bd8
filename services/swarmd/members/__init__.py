"""Who belongs to the swarm: joining, certificates for members, raft's membership, roles, leaving."""
