"""The four daemons and the kit they share."""
