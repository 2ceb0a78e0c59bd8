"""Predicates of tasks. Pure.

desired   READY ── RUNNING ── (jobs: COMPLETE) │ SHUTDOWN ── REMOVE
          └──────── active ──────────────────┘

observed  NEW ── PENDING ── │ ASSIGNED ── … ── RUNNING │ COMPLETE  SHUTDOWN  FAILED  REJECTED  ORPHANED
                            └──────── live ───────────┘ └─────────────── terminal ──────────────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ASSIGNED,
    TASK_STATE_COMPLETE,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
    TASK_STATE_RUNNING,
    TASK_STATE_STARTING,
)
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task

_BY_ITSELF = frozenset({TASK_STATE_COMPLETE, TASK_STATE_FAILED, TASK_STATE_REJECTED})


def is_active(task: Task) -> bool:
    """Say whether the task is meant to run, now or after a delay, or to have run to its end."""
    return task.desired_state <= TASK_STATE_COMPLETE


def is_terminal(task: Task) -> bool:
    """Say whether the task has ended, however."""
    return task.status.state > TASK_STATE_RUNNING


def is_live(task: Task) -> bool:
    """Say whether a node has the task, so that a container of it may exist there."""
    return TASK_STATE_ASSIGNED <= task.status.state <= TASK_STATE_RUNNING


def ended_by_itself(task: Task) -> bool:
    """Say whether the task ended without having been asked to."""
    return task.status.state in _BY_ITSELF and not task.stop_reason


def has_started(task: Task) -> bool:
    """Say whether the task's process has ever been started, as far as is known."""
    return (
        task.status.HasField("running_since")
        or task.status.state in {TASK_STATE_COMPLETE, TASK_STATE_FAILED}
        or TASK_STATE_STARTING <= task.status.state <= TASK_STATE_RUNNING
    )


def status_time(task: Task) -> float:
    """Return when the task came to its state, by the leader's clock where the leader took it from a node."""
    status = task.status
    return seconds(status.applied_at if status.HasField("applied_at") else status.since)
