"""Services with a number of replicas: as many slots as wanted, each with a task. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_RUNNING
from services.swarmd.orchestrator.core import restart, update
from services.swarmd.orchestrator.core.settle import settle
from services.swarmd.orchestrator.core.slots import SlotKind
from services.swarmd.orchestrator.core.states import is_active

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.slots import Slot, SlotKey

SCALED_DOWN = "the service was scaled down"


def reconcile(draft: Draft) -> None:
    """Bring the slots of the service to the number wanted, on its current spec."""
    settle(draft)
    wanted = draft.service.spec.mode.replicated.replicas
    counted = [slot for slot in draft.slots if draft.kind(slot) is not SlotKind.DEAD]
    if len(counted) > wanted:
        counted = _scale_down(draft, counted, wanted)
    update.update(draft, [slot.key for slot in counted])
    update.refill(draft, [slot.key for slot in counted])
    for key in _free_slots(counted, wanted - len(counted)):
        if not restart.spawn(draft, key):
            return


def _scale_down(draft: Draft, counted: Sequence[Slot], wanted: int) -> list[Slot]:
    """Let the surplus slots go, and return those that stay."""
    ranked = rank_for_keeping(counted)
    for slot in ranked[wanted:]:
        for task in slot.tasks:
            draft.end(task, SCALED_DOWN, remove=True)
    kept = {slot.key for slot in ranked[:wanted]}
    return [slot for slot in counted if slot.key in kept]


def rank_for_keeping(counted: Sequence[Slot]) -> list[Slot]:
    """Return the slots in the order in which they are worth keeping.

    The nodes with the most tasks of the service lose first, so that it stays balanced; on equal terms a slot with a
    running task stays, then the lower one. First of all go slots that are not settled: without a task on a node, or
    between two tasks.
    """
    by_state = sorted(counted, key=lambda slot: (not _runs(slot), slot.key))
    copies: Counter[str] = Counter()
    ranks: dict[SlotKey, tuple[bool, int]] = {}
    for slot in by_state:
        active = slot.active
        settled = len(active) == 1 and bool(active[0].node_id)
        if settled:
            copies[active[0].node_id] += 1
        ranks[slot.key] = (not settled, copies[active[0].node_id] if settled else 0)
    return sorted(by_state, key=lambda slot: ranks[slot.key])


def _runs(slot: Slot) -> bool:
    return any(is_active(task) and task.status.state == TASK_STATE_RUNNING for task in slot.tasks)


def _free_slots(counted: Sequence[Slot], missing: int) -> Iterator[int]:
    """Yield the lowest slot numbers that are not taken."""
    taken = {slot.key for slot in counted}
    number = 0
    while missing > 0:
        number += 1
        if number not in taken:
            missing -= 1
            yield number
