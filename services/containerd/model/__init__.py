"""Pure values: what a container is to be (spec), what it is (status), what happened to it (events)."""
