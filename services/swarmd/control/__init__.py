"""What only the leader does: look at the state of the swarm, and propose what is missing from what is wanted.

`loop.ControlLoop` is the shell. It feeds `planner.Planner`, which decides what to look at, runs the cores, and puts
what they ask for into one transaction: tasks are made, get their ports and their nodes in one pass and one commit.
"""
