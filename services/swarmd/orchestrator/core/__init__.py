"""The decisions about services and their tasks, without input or output.

`reconcile` is the way in: from a service, its tasks, the nodes and `now` to the changes that are due and the moment of
the next look. It is levels that decide, never events: a full look is always right, after any loss, any change of the
leader, any half-done write. Therefore everything that a decision rests on stands in the objects themselves.

Who writes what: of a task, `desired_state`, `stop_reason` and the restart fields are written here; the scheduler
writes `node_id`; `status` belongs to the node from ASSIGNED on. `desired_state` and `status.state` only grow.
"""
