"""Jobs: tasks that run to their end, so many times or once on each node. Pure.

A job belongs to an iteration, which every update of the service makes anew; tasks of earlier ones go. A task that
failed is followed by another within the restart policy; a slot that has used up its attempts is given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.swarmd.orchestrator.core import restart
from services.swarmd.orchestrator.core.global_ import eligible_nodes, leave_nodes
from services.swarmd.orchestrator.core.settle import settle
from services.swarmd.orchestrator.core.slots import SlotKind

if TYPE_CHECKING:
    from services.swarmd.orchestrator.core.draft import Draft

OTHER_ITERATION = "the job was started anew"


def reconcile_replicated(draft: Draft) -> None:
    """Keep as many tasks running as are allowed at once, until enough have completed."""
    _end_other_iterations(draft)
    settle(draft)
    mode = draft.service.spec.mode.replicated_job
    total = mode.total_completions
    kinds = {slot.key: draft.kind(slot) for slot in draft.slots}
    wanted = [slot for slot in draft.slots if kinds[slot.key] is not SlotKind.DEAD]
    running = sum(kinds[slot.key] is SlotKind.LIVE for slot in wanted)
    done = sum(kinds[slot.key] is SlotKind.COMPLETED for slot in wanted)  # completed, or given up
    room = min((mode.max_concurrent or total) - running, total - done - running)
    vacant = [slot.key for slot in wanted if kinds[slot.key] is SlotKind.VACANT]
    taken = {slot.key for slot in wanted}
    free = [number for number in range(1, total + 1) if number not in taken] if room > len(vacant) else []
    for key in [*vacant, *free][: max(room, 0)]:
        if not restart.spawn(draft, key):
            return


def reconcile_global(draft: Draft) -> None:
    """Let the job run once on each node that is ready for it, also on those that come later."""
    _end_other_iterations(draft)
    settle(draft)
    leave_nodes(draft)
    for node in eligible_nodes(draft):
        slot = draft.slot(node.id)
        due = node.ready and (slot is None or draft.kind(slot) in {SlotKind.DEAD, SlotKind.VACANT})
        if due and not restart.spawn(draft, node.id):
            return


def _end_other_iterations(draft: Draft) -> None:
    for task in draft.tasks:
        if task.job_iteration != draft.service.job.iteration:
            draft.end(task, OTHER_ITERATION, remove=True)
