"""Takes tasks off a node that has less than they reserve, as after a change of its memory or processors. Pure.

Constraints that a node no longer meets are seen service by service, in `settle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_SHUTDOWN
from services.swarmd.orchestrator.core.draft import Plan
from services.swarmd.orchestrator.core.states import is_active, is_live
from services.swarmd.scheduler.core.nodes import resources_of
from services.swarmd.scheduler.core.resources import Room
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.nodes import NodeView

TOO_SMALL = "assigned node no longer has the resources reserved"


def enforce(tasks: Iterable[Task], node: NodeView) -> Plan:
    """End the tasks of a node, the youngest first, whose reservations it cannot meet.

    Args:
        tasks: All tasks of the node.
        node: The node. One that tells nothing of its resources is taken to have enough.
    """
    if not node.ready or not node.resources:
        return Plan()
    room = Room(node.resources)
    changed: list[Task] = []
    live = [task for task in tasks if is_live(task)]
    for task in sorted(live, key=lambda task: (task.meta.created_version, task.id)):
        wanted = resources_of(task.spec.reservations)
        if room.fits(wanted) or not is_active(task):
            room.take(wanted)
            continue
        evicted = copy_of(task)
        evicted.desired_state = TASK_STATE_SHUTDOWN
        evicted.stop_reason = TOO_SMALL
        changed.append(evicted)
    return Plan(changed=changed)
