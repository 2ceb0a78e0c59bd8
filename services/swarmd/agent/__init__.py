"""The agent: runs the tasks that the swarm gives to this node, on the node's own containerd and imaged."""
