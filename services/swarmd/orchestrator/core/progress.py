"""How far an update is, counted from the tasks that it has made. Pure.

A slot of an update is

    busy      its newest task of this update does not run yet, or the delay after that is not over
    failed    some task of this update ended by itself, before it ran or while it was monitored, or does not run in time
    open      all its active tasks are dirty, and this update has not tried it yet
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_RUNNING, UPDATE_FAILURE_ACTION_CONTINUE
from services.swarmd.orchestrator.core import dirt
from services.swarmd.orchestrator.core.slots import SlotKind
from services.swarmd.orchestrator.core.states import ended_by_itself, is_active, is_terminal, status_time
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.policy import UpdatePolicy
    from services.swarmd.orchestrator.core.slots import Slot, SlotKey

# A share that was stored as a 32 bit float is not quite the number that the user wrote.
_RATIO_TOLERANCE = 1e-6


@dataclass(slots=True)
class Progress:
    """The count.

    Attributes:
        tried: Slots for which the update has made a task.
        busy: Those of them that take up a place among the slots at once.
        failed: Those of them whose task failed.
        failure: What went wrong first, for people.
        open: Slots that the update has yet to begin with, the broken ones first.
        last_done_at: When the last of the new tasks came to run, or ended.
    """

    tried: int = 0
    busy: int = 0
    failed: int = 0
    failure: str = ""
    open: list[Slot] = field(default_factory=list)
    last_done_at: float = 0.0

    def too_many_failures(self, policy: UpdatePolicy) -> bool:
        """Say whether more has failed than the policy tolerates."""
        if not self.failed or policy.on_failure == UPDATE_FAILURE_ACTION_CONTINUE:
            return False
        share = self.failed / (self.tried + len(self.open))
        return share > policy.failure_ratio_max + _RATIO_TOLERANCE


def measure(draft: Draft, keys: Iterable[SlotKey], policy: UpdatePolicy) -> Progress:
    """Count, and ask to be woken when the passing of time alone changes the count."""
    update_id = draft.service.update_status.id
    progress = Progress()
    for key in keys:
        slot = draft.slot(key)
        if slot is None:
            continue
        mine = [task for task in slot.tasks if task.update_id == update_id]
        if mine:
            progress.tried += 1
            _count_busy(draft, slot, mine[-1], policy, progress)
            _count_failed(draft, mine, policy, progress)
        elif draft.kind(slot) is not SlotKind.VACANT and is_dirty_slot(draft, slot):
            progress.open.append(slot)
    progress.open.sort(key=_runs)
    return progress


def is_dirty(draft: Draft, task: Task) -> bool:
    """Say whether a task must be replaced by one of the current spec."""
    return dirt.is_dirty(draft.service, task, draft.node_of(task))


def is_dirty_slot(draft: Draft, slot: Slot) -> bool:
    """Say whether a slot has no task of the current spec that runs, is to run, or has ended the slot."""
    tasks: Sequence[Task] = slot.active or [slot.newest]
    return all(is_dirty(draft, task) for task in tasks)


def _runs(slot: Slot) -> bool:
    return any(task.status.state == TASK_STATE_RUNNING for task in slot.active)


def _count_busy(draft: Draft, slot: Slot, newest: Task, policy: UpdatePolicy, progress: Progress) -> None:
    if not is_terminal(newest) and newest.status.state < TASK_STATE_RUNNING:
        if not is_active(newest):
            # It was moved before it ran; the one that follows it takes over its place.
            progress.busy += is_dirty_slot(draft, slot) or draft.kind(slot) is SlotKind.VACANT
        elif not _is_stuck(draft, newest, policy):
            draft.wake_at(_deadline(draft, newest, policy))
            progress.busy += 1
        return
    ran_at = seconds(newest.status.running_since) or status_time(newest)
    progress.last_done_at = max(progress.last_done_at, ran_at)
    if draft.now < ran_at + policy.delay_s:
        draft.wake_at(ran_at + policy.delay_s)
        progress.busy += 1


def _count_failed(draft: Draft, mine: Iterable[Task], policy: UpdatePolicy, progress: Progress) -> None:
    failures = [failure for task in mine if (failure := _failure(draft, task, policy))]
    if failures:
        progress.failed += 1
        progress.failure = progress.failure or failures[0]


def _failure(draft: Draft, task: Task, policy: UpdatePolicy) -> str:
    """Return in what way a task of the update has failed; empty if it has not."""
    if ended_by_itself(task):
        running_since = seconds(task.status.running_since)
        if not running_since or status_time(task) - running_since <= policy.monitor_s:
            return f"failure or early termination of task {task.id}"
    elif is_active(task) and not is_terminal(task) and _is_stuck(draft, task, policy):
        why = f": {task.status.error}" if task.status.error else ""
        return f"task {task.id}, which does not run after {policy.progress_deadline_s:g} s{why}"
    return ""


def _is_stuck(draft: Draft, task: Task, policy: UpdatePolicy) -> bool:
    return task.status.state < TASK_STATE_RUNNING and draft.now >= _deadline(draft, task, policy)


def _deadline(draft: Draft, task: Task, policy: UpdatePolicy) -> float:
    made = seconds(task.meta.created_at) or draft.now  # made by this very pass: it has no time yet
    return made + policy.progress_deadline_s
