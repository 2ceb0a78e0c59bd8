"""Health checks: what is run when, what its results mean, and the running of it."""
