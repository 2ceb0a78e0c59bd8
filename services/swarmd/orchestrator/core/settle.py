"""Ends the tasks that cannot go on where they are. Pure.

A task that has ended, whose node is gone or drained, or whose node no longer meets the task's constraints, is asked to
end; what becomes of its slot then is seen from the slot (`slots.kind_of`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_COMPLETE, TASK_STATE_READY
from services.swarmd.orchestrator.core.states import is_active, is_live, is_terminal
from services.swarmd.scheduler.core import constraints
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.orchestrator.core.draft import Draft


def settle(draft: Draft) -> None:
    """End every active task that has ended or must leave its node."""
    for task in draft.tasks:
        if not is_active(task):
            continue
        if is_terminal(task):
            _settle_ended(draft, task)
        elif reason := reason_to_leave(draft, task):
            draft.end(task, reason)


def _settle_ended(draft: Draft, task: Task) -> None:
    if draft.job and task.status.state == TASK_STATE_COMPLETE:
        return  # it has reached what was desired
    # One that failed before its own restart delay was over keeps its slot until then: else a task that cannot even be
    # prepared, say for want of its image, would be followed at once, without end.
    start_after = seconds(task.start_after)
    if task.desired_state == TASK_STATE_READY and start_after > draft.now:
        draft.wake_at(start_after)
        return
    draft.end(task)


def reason_to_leave(draft: Draft, task: Task) -> str:
    """Return why a task that has not ended must leave its node; empty if it may stay."""
    if not task.node_id:
        return ""
    node = draft.node_of(task)
    if node is None:
        return "its node was removed"
    if node.gone:
        return f"node {node.label} is down"
    if node.drained:
        return f"node {node.label} is drained"
    if node.ready and is_live(task) and not constraints.meets(task.spec.placement.constraints, node):
        return "assigned node no longer meets constraints"
    return ""
