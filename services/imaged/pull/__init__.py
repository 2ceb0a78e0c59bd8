"""Images from elsewhere: the peers of the swarm, and whatever else implements `Source`."""
