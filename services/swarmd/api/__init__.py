"""The swarm's services as clients see them."""
