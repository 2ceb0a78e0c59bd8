"""Lets prepared tasks start: `desired_state` READY becomes RUNNING, or COMPLETE for jobs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_READY
from services.swarmd.orchestrator.core import policy, restart
from services.swarmd.orchestrator.core.states import is_active, is_terminal
from services.swarmd.store.tables import copy_of
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.orchestrator.core.draft import Draft
    from services.swarmd.orchestrator.core.slots import Slot

OLD_TASK_WAIT_S = 60.0
_GRACE_MARGIN_S = 10.0


def start_ready(draft: Draft) -> None:
    """Let each task start whose delay is over and whose slot is free of the container before it."""
    for slot in draft.slots:
        for task in slot.tasks:
            if not is_active(task) or task.desired_state > TASK_STATE_READY or is_terminal(task):
                continue
            moment = _start_moment(draft, slot, task)
            if moment > draft.now:
                draft.wake_at(moment)
                continue
            started = copy_of(task)
            started.desired_state = restart.target_state(draft)
            draft.put(started)


def _start_moment(draft: Draft, slot: Slot, task: Task) -> float:
    """Return when the task may start, if nothing else happens."""
    moment = seconds(task.start_after)
    if any(not draft.is_lost(old) for old in slot.leaving):
        # Nobody waits for ever for a node that does not report the end of the old one.
        made = seconds(task.meta.created_at) or draft.now
        wait_s = max(OLD_TASK_WAIT_S, policy.stop_grace_s(task.spec) + _GRACE_MARGIN_S)
        moment = max(moment, made + wait_s)
    return moment
