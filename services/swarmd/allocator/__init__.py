"""What the swarm gives out centrally: the published ports of services. Pure."""
