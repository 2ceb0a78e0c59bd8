"""Global services: one task on each node that may have it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.swarmd.orchestrator.core import restart, update
from services.swarmd.orchestrator.core.settle import settle
from services.swarmd.orchestrator.core.slots import SlotKind
from services.swarmd.orchestrator.core.states import is_active, is_terminal
from services.swarmd.scheduler.core import constraints

if TYPE_CHECKING:
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.scheduler.core.nodes import NodeView

NODE_REMOVED = "its node was removed"
NOT_ELIGIBLE = "assigned node no longer meets constraints"


def reconcile(draft: Draft) -> None:
    """Give each node that may have one a task of the current spec, and take it from the others.

    A node that is only paused keeps what it has, and gets nothing new before it is active again.
    """
    settle(draft)
    leave_nodes(draft)
    keys = [slot.key for slot in draft.slots if _may_get(draft, str(slot.key))]
    update.update(draft, keys)
    update.refill(draft, keys)
    for node in eligible_nodes(draft):
        slot = draft.slot(node.id)
        due = node.ready and (slot is None or draft.kind(slot) is SlotKind.DEAD)
        if due and not restart.spawn(draft, node.id):
            return


def leave_nodes(draft: Draft) -> None:
    """End the tasks on nodes that may not have them, and let go of what was on nodes that are no more."""
    for slot in draft.slots:
        node = draft.world.nodes.get(str(slot.key))
        if node is None:
            for task in slot.tasks:
                draft.end(task, NODE_REMOVED, remove=True)
        elif not constraints.meets(draft.service.spec.task.placement.constraints, node):
            for task in slot.tasks:
                if is_active(task) and not is_terminal(task):
                    draft.end(task, NOT_ELIGIBLE)


def eligible_nodes(draft: Draft) -> list[NodeView]:
    """Return the nodes that may have a task, by id."""
    expressions = draft.service.spec.task.placement.constraints
    return [
        node
        for _, node in sorted(draft.world.nodes.items())
        if not node.invalid and constraints.meets(expressions, node)
    ]


def _may_get(draft: Draft, node_id: str) -> bool:
    node = draft.world.nodes.get(node_id)
    return (
        node is not None
        and node.ready
        and constraints.meets(draft.service.spec.task.placement.constraints, node)
    )
