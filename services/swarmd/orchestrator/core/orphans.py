"""Tasks that nobody reports on any more, or nobody asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_ORPHANED, TASK_STATE_REMOVE, TASK_STATE_SHUTDOWN
from services.swarmd.orchestrator.core.draft import Plan
from services.swarmd.orchestrator.core.states import is_live, is_terminal
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.nodes import NodeView

ORPHAN_AFTER_S = 24 * 3600.0


def orphan(tasks: Iterable[Task], node: NodeView | None, now: float) -> Plan:
    """Give up the tasks of a node that is no more, or has been gone for a day.

    Until then they keep their reservations, and addresses: the node may come back with the containers running.

    Args:
        tasks: All tasks of one node.
        node: The node, or None if it is no more.
        now: The leader's time.
    """
    if node is not None:
        if not node.gone:
            return Plan()
        moment = node.since + ORPHAN_AFTER_S
        if now < moment:
            return Plan(wakeup=moment)
    changed = []
    for task in tasks:
        if is_live(task):
            orphaned = copy_of(task)
            orphaned.status.state = TASK_STATE_ORPHANED
            orphaned.status.message = "its node is gone"
            orphaned.status.ClearField("applied_at")
            timestamps.put(orphaned.status.since, now)
            changed.append(orphaned)
    return Plan(changed=changed)


def disown(tasks: Iterable[Task]) -> Plan:
    """Let the tasks of a service that is no more end, and forget them when they have.

    Args:
        tasks: All tasks of the service.
    """
    changed: list[Task] = []
    removed: list[str] = []
    for task in tasks:
        # One without a node has nothing that would have to end.
        if is_terminal(task) or not is_live(task):
            removed.append(task.id)
        elif task.desired_state < TASK_STATE_REMOVE:
            ended = copy_of(task)
            ended.desired_state = TASK_STATE_REMOVE
            if task.desired_state < TASK_STATE_SHUTDOWN:
                ended.stop_reason = "its service was removed"
            changed.append(ended)
    return Plan(changed=changed, removed=removed)
