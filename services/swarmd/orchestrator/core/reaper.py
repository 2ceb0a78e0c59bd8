"""Forgets tasks: those that are to be removed, and history beyond the limit. Pure.

Never forgotten are a task that is meant to run, one whose container may still be there, and the newest of a slot,
which says what the slot is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ASSIGNED,
    TASK_STATE_REMOVE,
    TASK_STATE_SHUTDOWN,
    UPDATE_STATE_ROLLBACK_STARTED,
    UPDATE_STATE_UPDATING,
)
from services.swarmd.orchestrator.core.states import is_active, is_terminal
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.slots import Slot

_GOING_ON = frozenset({UPDATE_STATE_UPDATING, UPDATE_STATE_ROLLBACK_STARTED})


def close_unassigned(draft: Draft) -> None:
    """Let tasks end that were told to before any node had them: no node will report it."""
    for task in draft.tasks:
        if not is_active(task) and task.status.state < TASK_STATE_ASSIGNED:
            closed = copy_of(task)
            closed.status.state = TASK_STATE_SHUTDOWN
            closed.status.message = "shutdown before it had a node"
            timestamps.put(closed.status.since, draft.now)
            draft.put(closed)


def reap(draft: Draft) -> None:
    """Forget what is to be forgotten."""
    for slot in draft.slots:
        for task in slot.tasks:
            if task.desired_state >= TASK_STATE_REMOVE and is_terminal(task):
                draft.remove(task)
        rest = draft.slot(slot.key)
        if rest is not None:
            _trim(draft, rest)


def _trim(draft: Draft, slot: Slot) -> None:
    limit = draft.world.history_limit
    if limit is None:
        return
    excess = len(slot.tasks) - limit
    for task in slot.tasks[:-1]:
        if excess <= 0:
            return
        if is_terminal(task) and not is_active(task) and not _is_counted(draft, task):
            draft.remove(task)
            excess -= 1


def _is_counted(draft: Draft, task: Task) -> bool:
    """Say whether the count of an update that goes on rests on the task."""
    status = draft.service.update_status
    return status.state in _GOING_ON and task.update_id == status.id
