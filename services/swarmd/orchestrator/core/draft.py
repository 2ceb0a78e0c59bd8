"""The working copy of one service and its tasks while a look at it goes on. Pure.

Steps read it and write it, each seeing what those before it did; `plan` is what came of it all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_REMOVE, TASK_STATE_SHUTDOWN, Service, Task
from services.swarmd.orchestrator.core import policy, slots
from services.swarmd.orchestrator.core.states import is_terminal
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.kit.seams import NewId
    from services.swarmd.orchestrator.core.slots import Slot, SlotKey, SlotKind
    from services.swarmd.scheduler.core.nodes import NodeView

CREATIONS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all looks of one pass share.

    Attributes:
        now: The leader's time, in seconds since the epoch.
        nodes: Every node of the swarm.
        new_id: Makes the ids of tasks.
        history_limit: Tasks that are kept for each slot; None is all.
        creations_max: Tasks that one look may make; it comes back for the rest.
    """

    now: float
    nodes: Mapping[str, NodeView]
    new_id: NewId
    history_limit: int | None = policy.HISTORY_LIMIT
    creations_max: int = CREATIONS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is due.

    Attributes:
        service: The service, if it changes.
        made: New tasks.
        changed: Tasks that change.
        removed: Ids of tasks that are to be forgotten.
        wakeup: When to look again, though nothing changes; None if never.
        unfinished: There is more to do at once.
    """

    service: Service | None = None
    made: Sequence[Task] = ()
    changed: Sequence[Task] = ()
    removed: Sequence[str] = ()
    wakeup: float | None = None
    unfinished: bool = False

    def __bool__(self) -> bool:
        return bool(self.service or self.made or self.changed or self.removed)


class Draft:
    """One service and its tasks, being worked on.

    Args:
        world: What is around it.
        service: The service.
        tasks: All of its tasks.
    """

    def __init__(self, world: World, service: Service, tasks: Iterable[Task]) -> None:
        self.world = world
        self.now = world.now
        self.service = service
        self.job = policy.is_job(service)
        self.wakeup: float | None = None
        self.unfinished = False
        self._before_service = service
        self._before = {task.id: task for task in tasks}
        self._tasks = dict(self._before)
        self._slots = slots.group(self._tasks.values())
        self._made = 0

    @property
    def tasks(self) -> list[Task]:
        """All tasks as they are by now."""
        return list(self._tasks.values())

    @property
    def slots(self) -> list[Slot]:
        """The slots as they are by now, in the order of their keys; new ones come last."""
        return list(self._slots.values())

    def slot(self, key: SlotKey) -> Slot | None:
        """Return a slot as it is by now, or None if it has no task."""
        return self._slots.get(key)

    def kind(self, slot: Slot) -> SlotKind:
        """Say what a slot is."""
        return slots.kind_of(slot, job=self.job)

    def node_of(self, task: Task) -> NodeView | None:
        """Return the node of a task; None if it has none, or one that is no more."""
        return self.world.nodes.get(task.node_id)

    def is_lost(self, task: Task) -> bool:
        """Say whether a task has a node, and that node cannot be reached: its container may run on, unseen."""
        node = self.node_of(task)
        return bool(task.node_id) and (node is None or node.gone)

    def wake_at(self, moment: float) -> None:
        """Ask for another look at a moment to come."""
        if self.wakeup is None or moment < self.wakeup:
            self.wakeup = moment

    def set_service(self, service: Service) -> None:
        """Replace the service by a changed copy."""
        self.service = service
        self.job = policy.is_job(service)

    def put(self, task: Task) -> None:
        """Replace a task by a changed copy."""
        self._tasks[task.id] = task
        key = slots.key_of(task)
        slot = self._slots.get(key)
        others = [other for other in slot.tasks if other.id != task.id] if slot is not None else []
        self._slots[key] = slots.slot_of(key, [*others, task])

    def add(self, task: Task) -> bool:
        """Add a new task, unless this look has made enough of them; say whether it did."""
        if self._made >= self.world.creations_max:
            self.unfinished = True
            return False
        self._made += 1
        self.put(task)
        return True

    def remove(self, task: Task) -> None:
        """Forget a task."""
        del self._tasks[task.id]
        key = slots.key_of(task)
        rest = [other for other in self._slots[key].tasks if other.id != task.id]
        if rest:
            self._slots[key] = slots.slot_of(key, rest)
        else:
            del self._slots[key]

    def end(self, task: Task, reason: str = "", *, remove: bool = False) -> None:
        """Ask a task to end: `desired_state` grows to SHUTDOWN, or to REMOVE.

        Args:
            task: The task, as it is by now.
            reason: Why, if it has not ended by itself.
            remove: It is to be forgotten when it has ended.
        """
        wanted = TASK_STATE_REMOVE if remove else TASK_STATE_SHUTDOWN
        if task.desired_state >= wanted:
            return
        task = copy_of(task)
        task.desired_state = wanted
        if reason and not task.stop_reason and not is_terminal(task):
            task.stop_reason = reason
        self.put(task)

    def plan(self) -> Plan:
        """Return what has changed."""
        return Plan(
            service=self.service if self.service != self._before_service else None,
            made=[task for task in self._tasks.values() if task.id not in self._before],
            changed=[
                task
                for task in self._tasks.values()
                if (before := self._before.get(task.id)) is not None and before is not task and before != task
            ],
            removed=[task_id for task_id in self._before if task_id not in self._tasks],
            wakeup=self.wakeup,
            unfinished=self.unfinished,
        )
