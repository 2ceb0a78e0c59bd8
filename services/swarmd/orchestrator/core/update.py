"""Rolling updates and rollbacks, and the refilling of vacant slots. Pure.

    ─ spec changes, some task is dirty ─> UPDATING ─ all replaced, and watched ─> COMPLETED
                                             │ too many failures
                       ┌─ pause ─────────────┼─ rollback ─> ROLLBACK_STARTED ─> ROLLBACK_COMPLETED
                    PAUSED                   └─ continue: goes on    └─ too many failures ─> ROLLBACK_PAUSED

An update has an id, which each task that it makes carries: any leader at any moment counts the same from these tasks.
It ends dirty tasks and makes their successors; a user's next update begins by clearing `update_status`.

Dirty tasks that end by themselves are followed by tasks of the new spec even outside the order of the update, and even
while it is paused: `refill` does not know old specs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_REMOVE,
    TASK_STATE_RUNNING,
    UPDATE_FAILURE_ACTION_ROLLBACK,
    UPDATE_STATE_COMPLETED,
    UPDATE_STATE_PAUSED,
    UPDATE_STATE_ROLLBACK_COMPLETED,
    UPDATE_STATE_ROLLBACK_PAUSED,
    UPDATE_STATE_ROLLBACK_STARTED,
    UPDATE_STATE_UPDATING,
    UpdateState,
)
from services.swarmd.orchestrator.core import policy, restart, slots
from services.swarmd.orchestrator.core.progress import is_dirty, is_dirty_slot, measure
from services.swarmd.orchestrator.core.slots import SlotKind
from services.swarmd.orchestrator.core.states import ended_by_itself, is_terminal
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.policy import UpdatePolicy
    from services.swarmd.orchestrator.core.progress import Progress
    from services.swarmd.orchestrator.core.slots import Slot, SlotKey

REPLACED = "replaced by an update"
SURPLUS = "another task has its slot"

_GOING_ON = frozenset({UPDATE_STATE_UPDATING, UPDATE_STATE_ROLLBACK_STARTED})
_PAUSED = frozenset({UPDATE_STATE_PAUSED, UPDATE_STATE_ROLLBACK_PAUSED})


def update(draft: Draft, keys: Sequence[SlotKey]) -> None:
    """Take the update of a service as far as it may go now.

    Args:
        draft: The service.
        keys: The slots that count.
    """
    _resolve_pairs(draft, keys)
    status = draft.service.update_status
    if status.state in _PAUSED:
        return
    if status.state not in _GOING_ON:
        if not any(_is_replaceable(draft, key) for key in keys):
            return
        _begin(draft, UPDATE_STATE_UPDATING, "update in progress")
    elif not status.id:
        _begin(draft, status.state, status.message)  # a rollback that the user asked for
    progress = measure(draft, keys, _policy(draft))
    if progress.too_many_failures(_policy(draft)):
        _give_up(draft, progress)
        if draft.service.update_status.state not in _GOING_ON:
            return
        _resolve_pairs(draft, keys)
        progress = measure(draft, keys, _policy(draft))  # of the rollback, which has just begun
    _advance(draft, progress, _policy(draft))


def refill(draft: Draft, keys: Sequence[SlotKey]) -> None:
    """Make the next task of each vacant slot, and of each where an update's task failed beside the old one."""
    for key in keys:
        slot = draft.slot(key)
        if slot is None:
            continue
        kind = draft.kind(slot)
        due = kind is SlotKind.VACANT or (kind is SlotKind.LIVE and _failed_beside(draft, slot))
        if due and not restart.spawn(draft, key, update_id=_inherited_update(draft, slot.newest)):
            return


def _policy(draft: Draft) -> UpdatePolicy:
    rolling_back = draft.service.update_status.state in {
        UPDATE_STATE_ROLLBACK_STARTED,
        UPDATE_STATE_ROLLBACK_PAUSED,
    }
    return policy.update_policy(draft.service.spec, rolling_back=rolling_back)


def _is_replaceable(draft: Draft, key: SlotKey) -> bool:
    slot = draft.slot(key)
    return slot is not None and draft.kind(slot) is not SlotKind.VACANT and is_dirty_slot(draft, slot)


def _resolve_pairs(draft: Draft, keys: Sequence[SlotKey]) -> None:
    """Leave one task where a slot has several and one of them is clean.

    The dirty ones go once the clean one runs, or at once where the old task is to end first.
    """
    start_first = _policy(draft).start_first
    for key in keys:
        slot = draft.slot(key)
        if slot is None or len(active := slot.active) < 2:
            continue
        clean = [task for task in active if not is_dirty(draft, task)]
        if not clean:
            continue
        best = max(clean, key=_advancement)
        for task in active:
            if task is best:
                continue
            if task in clean:
                draft.end(task, SURPLUS)
            elif best.status.state == TASK_STATE_RUNNING or not start_first:
                draft.end(task, REPLACED)


def _advancement(task: Task) -> int:
    return -1 if is_terminal(task) else task.status.state


def _begin(draft: Draft, state: UpdateState.ValueType, message: str) -> None:
    service = copy_of(draft.service)
    status = service.update_status
    # The version of the service is one that no update of it has had: beginning one makes a new version.
    status.id = max(service.meta.version, 1)
    status.state = state
    status.message = message
    status.ClearField("completed_at")
    timestamps.put(status.started_at, draft.now)
    draft.set_service(service)


def _give_up(draft: Draft, progress: Progress) -> None:
    """Do what the policy says about an update that fails: pause it, or turn it into a rollback."""
    service = copy_of(draft.service)
    status = service.update_status
    rolling_back = status.state == UPDATE_STATE_ROLLBACK_STARTED
    wants_rollback = not rolling_back and _policy(draft).on_failure == UPDATE_FAILURE_ACTION_ROLLBACK
    if wants_rollback and service.HasField("previous_spec"):
        service.spec.CopyFrom(service.previous_spec)
        service.spec_version = service.previous_spec_version
        service.ClearField("previous_spec")
        service.ClearField("previous_spec_version")
        draft.set_service(service)
        _begin(draft, UPDATE_STATE_ROLLBACK_STARTED, f"update rolled back due to {progress.failure}")
        return
    status.state = UPDATE_STATE_ROLLBACK_PAUSED if rolling_back else UPDATE_STATE_PAUSED
    what = "rollback" if rolling_back else "update"
    status.message = f"{what} paused due to {progress.failure}"
    if wants_rollback:
        status.message += "; there is no previous spec to roll back to"
    draft.set_service(service)


def _advance(draft: Draft, progress: Progress, update: UpdatePolicy) -> None:
    """Begin with as many open slots as may be busy at once; when nothing is left and all was watched, complete."""
    if progress.open:
        room = len(progress.open) if update.parallelism == 0 else update.parallelism - progress.busy
        for slot in progress.open[: max(room, 0)]:
            if not _replace(draft, slot, update):
                return
        return
    if progress.busy:
        return
    watch_s = update.monitor_s if update.delay_s < update.monitor_s else update.delay_s + 1.0
    complete_at = progress.last_done_at + watch_s if progress.tried else draft.now
    if draft.now < complete_at:
        draft.wake_at(complete_at)
        return
    service = copy_of(draft.service)
    status = service.update_status
    rolled_back = status.state == UPDATE_STATE_ROLLBACK_STARTED
    status.state = UPDATE_STATE_ROLLBACK_COMPLETED if rolled_back else UPDATE_STATE_COMPLETED
    status.message = "rollback completed" if rolled_back else "update completed"
    timestamps.put(status.completed_at, draft.now)
    draft.set_service(service)


def _replace(draft: Draft, slot: Slot, update: UpdatePolicy) -> bool:
    """End the tasks of a slot, or all but one that the new one is to relieve, and make the new one.

    The old ones first: the new one is told by what leaves the slot that it has to wait. If the look has made enough
    tasks, the slot is left vacant, and is the first to be refilled.
    """
    active = slot.active
    kept: Task | None = None
    if update.start_first:
        kept = next((task for task in active if task.status.state == TASK_STATE_RUNNING), None)
    for task in active:
        if task is not kept:
            draft.end(task, REPLACED)
    return restart.spawn(draft, slot.key, update_id=draft.service.update_status.id)


def _failed_beside(draft: Draft, slot: Slot) -> bool:
    """Say whether the task of the current spec failed or was moved, while the old one still runs in its slot."""
    newest = slot.newest
    if newest in slot.active or newest.desired_state >= TASK_STATE_REMOVE or is_dirty(draft, newest):
        return False
    return is_dirty_slot(draft, slot) and not slots.ends_slot(newest, job=draft.job)


def _inherited_update(draft: Draft, before: Task) -> int:
    """Return the update that the task after this one belongs to.

    The successor of a dirty task does the update's work; that of a task that was moved goes on with it. One that
    failed has been counted, and its successor is only a restart.
    """
    status = draft.service.update_status
    if status.state not in _GOING_ON:
        return 0
    if is_dirty(draft, before) or (before.update_id == status.id and not ended_by_itself(before)):
        return status.id
    return 0
