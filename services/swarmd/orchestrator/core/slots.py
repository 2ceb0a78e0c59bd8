"""Slots: the places that the tasks of a service fill one after the other. Pure.

A slot is a number for replicated services and jobs, a node's id for global ones. Its tasks are its history, oldest
first; the newest says what is to become of it:

    LIVE       it has an active task
    COMPLETED  its newest task ended, and by its restart policy is not to be followed by another
    VACANT     its newest task ended or was ended, and another is to follow in this slot
    DEAD       its newest task is to be removed: the slot is not wanted any more
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_COMPLETE, TASK_STATE_REMOVE
from services.swarmd.orchestrator.core import policy
from services.swarmd.orchestrator.core.states import (
    ended_by_itself,
    has_started,
    is_active,
    is_live,
    status_time,
)
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from beeyard.swarm.v1.objects_pb2 import Task

SlotKey: TypeAlias = int | str

_NEWEST = 2**64


class SlotKind(enum.Enum):
    """What a slot is, see above."""

    LIVE = enum.auto()
    COMPLETED = enum.auto()
    VACANT = enum.auto()
    DEAD = enum.auto()


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot and its history, oldest task first; never empty."""

    key: SlotKey
    tasks: Sequence[Task]

    @property
    def newest(self) -> Task:
        """The task that was made last."""
        return self.tasks[-1]

    @property
    def active(self) -> list[Task]:
        """The tasks that are meant to run. More than one while an update starts the new one first."""
        return [task for task in self.tasks if is_active(task)]

    @property
    def leaving(self) -> list[Task]:
        """The tasks that were told to end and may still have a container."""
        return [task for task in self.tasks if not is_active(task) and is_live(task)]


def key_of(task: Task) -> SlotKey:
    """Return the slot of a task."""
    return task.slot or task.node_id


def group(tasks: Iterable[Task]) -> dict[SlotKey, Slot]:
    """Return the slots that tasks fill, in the order of their keys."""
    by_key: dict[SlotKey, list[Task]] = {}
    for task in tasks:
        by_key.setdefault(key_of(task), []).append(task)
    return {key: slot_of(key, by_key[key]) for key in sorted(by_key, key=_order)}


def slot_of(key: SlotKey, tasks: list[Task]) -> Slot:
    """Return the slot that some tasks fill."""
    return Slot(key, sorted(tasks, key=_age) if len(tasks) > 1 else tasks)


def kind_of(slot: Slot, *, job: bool) -> SlotKind:
    """Say what is to become of a slot."""
    if any(is_active(task) and not _is_done(task) for task in slot.tasks):
        return SlotKind.LIVE
    newest = slot.newest
    if newest.desired_state >= TASK_STATE_REMOVE:
        return SlotKind.DEAD
    return SlotKind.COMPLETED if ends_slot(newest, job=job) else SlotKind.VACANT


def ends_slot(task: Task, *, job: bool) -> bool:
    """Say whether, by its own restart policy, no task is to follow this one, which has ended or is to end.

    A task that was moved off its node is followed by another unless it must never run twice.
    """
    restart = policy.restart_policy(task.spec, job=job)
    if not ended_by_itself(task):
        return restart.never and has_started(task)
    if restart.never or (restart.only_failures and _is_done(task)):
        return True
    return restart.attempts_max > 0 and _attempts(task, restart) >= restart.attempts_max


def restarts_in_window(task: Task, restart: policy.RestartPolicy) -> list[float]:
    """Return when the slot of a task that has ended was restarted before, so far as the policy's window counts it."""
    oldest = status_time(task) - restart.window_s
    return [restarted for timestamp in task.restarted_at if (restarted := seconds(timestamp)) > oldest]


def _attempts(task: Task, restart: policy.RestartPolicy) -> int:
    return len(restarts_in_window(task, restart)) if restart.window_s > 0 else task.restarts_before


def _is_done(task: Task) -> bool:
    return task.status.state == TASK_STATE_COMPLETE


def _age(task: Task) -> tuple[int, float, str]:
    # What this very pass makes has no version yet, and is newest.
    return (task.meta.created_version or _NEWEST, seconds(task.meta.created_at), task.id)


def _order(key: SlotKey) -> tuple[int, str]:
    return (key, "") if isinstance(key, int) else (0, key)
