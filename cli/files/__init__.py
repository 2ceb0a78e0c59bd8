"""Files between this machine and containers: what goes where, and the archives in between."""
