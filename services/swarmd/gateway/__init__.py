"""The node as a way to other nodes: who may call what, and where a call is served. `ports` is what others use."""
