"""What becomes of a report of a task. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from datetime import datetime

TEXT_CHARS_MAX = 2000
ADDRESSES_MAX = 64
PORTS_MAX = 1024
_REPORTABLE = frozenset(
    {
        objects_pb2.TASK_STATE_ACCEPTED,
        objects_pb2.TASK_STATE_PREPARING,
        objects_pb2.TASK_STATE_READY,
        objects_pb2.TASK_STATE_STARTING,
        objects_pb2.TASK_STATE_RUNNING,
        objects_pb2.TASK_STATE_COMPLETE,
        objects_pb2.TASK_STATE_SHUTDOWN,
        objects_pb2.TASK_STATE_FAILED,
        objects_pb2.TASK_STATE_REJECTED,
    }
)


def merge(
    task: objects_pb2.Task, reported: objects_pb2.TaskStatus, *, now: datetime, leader_id: str
) -> objects_pb2.Task | None:
    """Return the task with the reported status; None if the report changes nothing.

    States only grow: a report of an earlier state is late, and void. A report of the same state counts if its text,
    container or ports are others. When it was taken and by whom is written by us, whatever the report says.
    """
    old = task.status
    if reported.state not in _REPORTABLE or reported.state < old.state:
        return None
    new = objects_pb2.TaskStatus()
    new.CopyFrom(reported)
    new.message = new.message[:TEXT_CHARS_MAX]
    new.error = new.error[:TEXT_CHARS_MAX]
    del new.container.addresses[ADDRESSES_MAX:]
    del new.ports[PORTS_MAX:]
    if not reported.HasField("container"):
        new.ClearField("container")
    new.applied_at.CopyFrom(old.applied_at)
    new.applied_by = old.applied_by
    new.ClearField("running_since")
    if old.HasField("running_since"):
        new.running_since.CopyFrom(old.running_since)
    if not old.HasField("applied_at"):
        new.ClearField("applied_at")
    if new == old:
        return None
    new.applied_at.FromDatetime(now)
    new.applied_by = leader_id
    if new.state == objects_pb2.TASK_STATE_RUNNING and not new.HasField("running_since"):
        new.running_since.FromDatetime(now)
    merged = copy_of(task)
    merged.status.CopyFrom(new)
    return merged
