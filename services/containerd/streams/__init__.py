"""Standard streams of containers: one connection to conmon per container, fanned out to any number of clients."""
