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
    container or ports are others. When the state was taken and by whom is written by us, whatever the report says; it
    stays with the state when only the text is another, as delays are reckoned from it.
    """
    old = task.status
    if reported.state not in _REPORTABLE or reported.state < old.state:
        return None
    new = objects_pb2.TaskStatus()
    new.CopyFrom(reported)
    _bound(new)
    for name in ("applied_at", "running_since"):
        new.ClearField(name)
        if old.HasField(name):
            getattr(new, name).CopyFrom(getattr(old, name))
    new.applied_by = old.applied_by
    if new == old:
        return None
    if new.state != old.state or not old.HasField("applied_at"):
        new.applied_at.FromDatetime(now)
        new.applied_by = leader_id
    if new.state == objects_pb2.TASK_STATE_RUNNING and not new.HasField("running_since"):
        new.running_since.FromDatetime(now)
    merged = copy_of(task)
    merged.status.CopyFrom(new)
    return merged


def _bound(status: objects_pb2.TaskStatus) -> None:
    """Cut what a node may make long."""
    status.message = status.message[:TEXT_CHARS_MAX]
    status.error = status.error[:TEXT_CHARS_MAX]
    if len(status.container.addresses) > ADDRESSES_MAX:
        del status.container.addresses[ADDRESSES_MAX:]
    if len(status.ports) > PORTS_MAX:
        del status.ports[PORTS_MAX:]
