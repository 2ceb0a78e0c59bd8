"""Tasks that nobody asks for any more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_REMOVE, TASK_STATE_SHUTDOWN
from services.swarmd.orchestrator.core.draft import Plan
from services.swarmd.orchestrator.core.states import is_live
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import Task


def disown(tasks: Iterable[Task]) -> Plan:
    """Let the tasks of a service that is no more end, and forget them when they have.

    Args:
        tasks: All tasks of the service.
    """
    changed: list[Task] = []
    removed: list[str] = []
    for task in tasks:
        # One that no node has, or that has ended, has nothing that would have to end.
        if not is_live(task):
            removed.append(task.id)
        elif task.desired_state < TASK_STATE_REMOVE:
            ended = copy_of(task)
            ended.desired_state = TASK_STATE_REMOVE
            if task.desired_state < TASK_STATE_SHUTDOWN:
                ended.stop_reason = "its service was removed"
            changed.append(ended)
    return Plan(changed=changed, removed=removed)
