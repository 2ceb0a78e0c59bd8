"""The dispatcher: the leader's side of every agent's session. Gives nodes their tasks and takes their reports."""
