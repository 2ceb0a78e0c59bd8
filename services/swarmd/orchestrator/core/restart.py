"""New tasks: the first of a slot, and those that follow another. Pure.

A task never runs twice. What follows it is a new task in its slot, which is prepared at once (desired READY: the image
comes, the container is made) and started when its time has come (`start.py`). All that the next decision needs stands
in the new task: when it may start, how often its slot was restarted, how many failures came in a row. A leader that
has just taken over decides as the old one would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_COMPLETE,
    TASK_STATE_NEW,
    TASK_STATE_READY,
    TASK_STATE_REMOVE,
    TASK_STATE_RUNNING,
    Task,
    TaskState,
)
from services.swarmd.orchestrator.core import policy, slots
from services.swarmd.orchestrator.core.states import ended_by_itself, status_time
from services.swarmd.store import timestamps
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.policy import RestartPolicy
    from services.swarmd.orchestrator.core.slots import SlotKey

STABLE_S_MIN = 10.0
"""A task that ran for so long, and for the longest backoff, has not failed at once: the backoff begins anew."""

_BACKOFF_BASE_S = 1.0  # doubles where the policy's delay is 0
_DOUBLINGS_MAX = 30


def spawn(draft: Draft, key: SlotKey, *, update_id: int = 0) -> bool:
    """Make the next task of a slot, unless the look has made enough; say whether it did.

    Args:
        draft: The service.
        key: The slot: a number, or the id of the node that the task is for.
        update_id: The update that makes it. It then starts as soon as the slot is free, whatever was before.
    """
    service = draft.service
    slot = draft.slot(key)
    task = Task(
        id=draft.world.new_id(),
        service_annotations=service.spec.annotations,
        service_id=service.id,
        spec=service.spec.task,
        spec_version=service.spec_version,
        job_iteration=service.job.iteration,
        update_id=update_id,
    )
    if isinstance(key, int):
        task.slot = key
    else:
        task.node_id = key
    task.status.state = TASK_STATE_NEW
    timestamps.put(task.status.since, draft.now)
    task.status.message = "created"
    if slot is not None and slot.newest.desired_state < TASK_STATE_REMOVE:
        _follow(task, slot.newest, policy.restart_policy(task.spec, job=draft.job), update=bool(update_id))
    occupants = [old for old in slot.leaving if not draft.is_lost(old)] if slot is not None else []
    if occupants:
        task.start_after_task_id = occupants[-1].id
    waits = bool(occupants) or seconds(task.start_after) > draft.now
    task.desired_state = TASK_STATE_READY if waits else target_state(draft)
    return draft.add(task)


def target_state(draft: Draft) -> TaskState.ValueType:
    """Return the state that tasks of the service are meant to reach."""
    return TASK_STATE_COMPLETE if draft.job else TASK_STATE_RUNNING


def _follow(task: Task, before: Task, restart: RestartPolicy, *, update: bool) -> None:
    """Let a new task follow the one before it in its slot: accounts of restarts, and the delay."""
    same_spec = before.spec_version == task.spec_version
    start_after = 0.0 if update else seconds(before.start_after)
    if ended_by_itself(before):
        ended = status_time(before)
        if same_spec:
            task.failures_before = 0 if _was_stable(before, ended, restart) else before.failures_before + 1
            task.restarts_before = before.restarts_before + 1
            if restart.attempts_max > 0 and restart.window_s > 0:
                restarts = [*slots.restarts_in_window(before, restart), ended]
                for restarted in restarts[-restart.attempts_max :]:
                    timestamps.put(task.restarted_at.add(), restarted)
        if not update:
            # One that failed while it waited for its own start is followed after that moment, not after its end.
            start_after = max(start_after, ended) + restart_delay(restart, task.failures_before)
    elif same_spec:  # it was moved: that is no restart, but what is counted stays counted
        task.failures_before = before.failures_before
        task.restarts_before = before.restarts_before
        task.restarted_at.extend(before.restarted_at)
    if start_after > 0.0:
        timestamps.put(task.start_after, start_after)


def restart_delay(restart: RestartPolicy, failures_before: int) -> float:
    """Return the seconds from the end of a task to the start of the next."""
    if restart.backoff_max_s <= 0 or failures_before <= 1:
        return restart.delay_s
    doubled = (restart.delay_s or _BACKOFF_BASE_S) * 2.0 ** min(failures_before - 1, _DOUBLINGS_MAX)
    return max(restart.delay_s, min(doubled, restart.backoff_max_s))


def _was_stable(task: Task, ended: float, restart: RestartPolicy) -> bool:
    if not task.status.HasField("running_since"):
        return False
    return ended - seconds(task.status.running_since) >= max(STABLE_S_MIN, restart.backoff_max_s)
