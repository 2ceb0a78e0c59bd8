"""The placement of tasks on nodes, without input or output.

`fleet.Fleet` knows what the nodes have and what runs there; `place.place` finds nodes for tasks of one kind, through
`filters`, which can explain what they refuse, and `spread`, which ranks what is left.
"""
