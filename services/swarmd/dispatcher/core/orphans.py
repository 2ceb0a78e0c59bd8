"""Tasks whose node will not tell of them any more. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.store.tables import NODES, TASKS, TASKS_BY_NODE, copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.swarmd.store.views import Reader

AWAY_MAX = timedelta(hours=24)
"""After so long the resources and addresses of a node's tasks are given to others."""
_GONE = "its node was removed from the swarm"


def find(
    reader: Reader, node_ids: Iterable[str], *, now: datetime, away_max: timedelta = AWAY_MAX
) -> dict[str, str]:
    """Return the tasks of nodes that are gone or away for long, by id, with the reason for each."""
    found: dict[str, str] = {}
    for node_id in node_ids:
        reason = _reason(reader.get(NODES, node_id), now, away_max)
        if reason:
            found |= {task.id: reason for task in reader.find(TASKS_BY_NODE, node_id) if _is_lost(task)}
    return found


def candidates(reader: Reader) -> set[str]:
    """Return all nodes that may have lost tasks: those that are down, and those that only tasks know of."""
    down = {node.id for node in reader.list(NODES) if node.status.state == objects_pb2.NODE_STATE_DOWN}
    named = {task.node_id for task in reader.list(TASKS) if task.node_id}
    return down | {node_id for node_id in named if reader.get(NODES, node_id) is None}


def orphaned(
    task: objects_pb2.Task, reason: str, *, now: datetime, leader_id: str
) -> objects_pb2.Task | None:
    """Return the task as an orphan; None if it has ended meanwhile."""
    if not _is_lost(task):
        return None
    orphan = copy_of(task)
    orphan.status.state = objects_pb2.TASK_STATE_ORPHANED
    orphan.status.message = "orphaned"
    orphan.status.error = reason
    orphan.status.since.FromDatetime(now)
    orphan.status.applied_at.FromDatetime(now)
    orphan.status.applied_by = leader_id
    return orphan


def _is_lost(task: objects_pb2.Task) -> bool:
    return objects_pb2.TASK_STATE_ASSIGNED <= task.status.state <= objects_pb2.TASK_STATE_RUNNING


def _reason(node: objects_pb2.Node | None, now: datetime, away_max: timedelta) -> str:
    if node is None:
        return _GONE
    if node.status.state != objects_pb2.NODE_STATE_DOWN or not node.status.HasField("since"):
        return ""
    away = now - node.status.since.ToDatetime(tzinfo=UTC)
    if away < away_max:
        return ""
    return f"its node has been down for more than {int(away_max.total_seconds() // 3600)} hours"
