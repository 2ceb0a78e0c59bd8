"""What the leader makes of a status that a node reports. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ACCEPTED,
    TASK_STATE_REJECTED,
    TASK_STATE_RUNNING,
)
from services.swarmd.orchestrator.core.states import is_terminal
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task, TaskStatus


def accept(task: Task, status: TaskStatus, *, now: float, manager_id: str) -> Task | None:
    """Return the task with a reported status, or None if the report is to be dropped.

    States only grow, and a task that has ended stays as it ended. Within one state, the other fields may change.

    Args:
        task: The task in the store; its node is the one that reports.
        status: The report.
        now: The leader's time: decisions reckon with it, not with the node's.
        manager_id: The leader's node.
    """
    if not TASK_STATE_ACCEPTED <= status.state <= TASK_STATE_REJECTED:
        return None  # not a node's to say
    if is_terminal(task) or status.state < task.status.state:
        return None
    accepted = copy_of(task)
    accepted.status.CopyFrom(status)
    accepted.status.ClearField("running_since")
    if task.status.HasField("running_since"):
        accepted.status.running_since.CopyFrom(task.status.running_since)
    elif status.state == TASK_STATE_RUNNING:
        timestamps.put(accepted.status.running_since, now)
    if status.state == task.status.state:
        accepted.status.applied_at.CopyFrom(task.status.applied_at)
        accepted.status.applied_by = task.status.applied_by
    else:
        timestamps.put(accepted.status.applied_at, now)
        accepted.status.applied_by = manager_id
    return None if accepted == task else accepted
