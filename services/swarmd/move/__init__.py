"""Moving a container of no service to another node: `core` decides, `mover` runs one move, `movers` all."""
