"""The tasks that have no node yet, and the pass over them: allocation, then placement. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_NEW, TASK_STATE_PENDING
from services.kit import errors
from services.swarmd.allocator import ports
from services.swarmd.orchestrator.core.states import is_active
from services.swarmd.scheduler.core import place
from services.swarmd.scheduler.core.demand import demand_of
from services.swarmd.store import timestamps
from services.swarmd.store.tables import SERVICES, TASKS, copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.fleet import Fleet
    from services.swarmd.store.transaction import Tx

PENDING_MESSAGE = "pending task scheduling"

_GroupKey: TypeAlias = tuple[str, int, str]
"""Service, spec version, and the node for tasks that are meant for one."""


class Queue:
    """Tasks that wait for a node. One that is refused is tried again when something might have changed."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._refused: dict[_GroupKey, tuple[int, frozenset[str]]] = {}
        self._worked_on: tuple[int, Mapping[str, str]] | None = None

    def offer(self, task: Task) -> None:
        """Take a task in, if it waits for a node."""
        if task.id not in self._waiting and is_active(task) and task.status.state <= TASK_STATE_PENDING:
            self._waiting[task.id] = None
            self._worked_on = None

    def retry(self) -> None:
        """Let the next pass look at all tasks that wait though nothing has changed: what was written last is void."""
        self._worked_on = None
        self._refused.clear()

    def work(self, tx: Tx, fleet: Fleet, refusals: Mapping[str, str], now: float) -> None:
        """Give nodes to the tasks that can have one, and reasons to the others.

        Args:
            tx: Where the tasks are read and written.
            fleet: All nodes; it counts what is placed.
            refusals: Services that could not have their ports, with the reason.
            now: The leader's time.
        """
        if self._worked_on == (fleet.loosened, refusals):
            return  # however many wait, nothing has changed for them
        self._worked_on = (fleet.loosened, dict(refusals))
        groups: dict[_GroupKey, list[Task]] = {}
        for task in self._tasks(tx):
            allocated = _allocate(tx, task, refusals, now)
            if allocated is not task:
                tx.update(TASKS, allocated)
            if allocated.status.state == TASK_STATE_PENDING:
                key = (allocated.service_id, allocated.spec_version, allocated.node_id)
                groups.setdefault(key, []).append(allocated)
        for key, tasks in groups.items():
            ids = frozenset(task.id for task in tasks)
            loosened, refused_ids = self._refused.get(key, (-1, frozenset()))
            if loosened == fleet.loosened and ids <= refused_ids:
                continue
            left = _place(tx, fleet, tasks, now)
            if left:
                self._refused[key] = (fleet.loosened, frozenset(left))
        for key in [key for key in self._refused if key not in groups]:
            del self._refused[key]

    def _tasks(self, tx: Tx) -> list[Task]:
        """Return the tasks that wait, oldest first, and let go of those that do no longer."""
        tasks: list[Task] = []
        for task_id in list(self._waiting):
            task = tx.get(TASKS, task_id)
            if task is not None and is_active(task) and task.status.state <= TASK_STATE_PENDING:
                tasks.append(task)
            else:
                del self._waiting[task_id]
        tasks.sort(key=lambda task: (task.meta.created_version or 2**64, task.slot, task.id))
        return tasks


def _allocate(tx: Tx, task: Task, refusals: Mapping[str, str], now: float) -> Task:
    """Return a task in state PENDING if its service has its ports; else with the reason why not."""
    if task.status.state != TASK_STATE_NEW:
        return task
    service = tx.get(SERVICES, task.service_id)
    if service is None:
        return task
    if not ports.is_allocated(service):
        error = refusals.get(service.id, task.status.error)
        return place.refuse(task, error)
    allocated = copy_of(task)
    allocated.endpoint.CopyFrom(service.endpoint)
    allocated.endpoint.SetInParent()  # an endpoint without ports says so
    allocated.status.state = TASK_STATE_PENDING
    allocated.status.message = PENDING_MESSAGE
    allocated.status.ClearField("error")
    timestamps.put(allocated.status.since, now)
    return allocated


def _place(tx: Tx, fleet: Fleet, tasks: Sequence[Task], now: float) -> list[str]:
    """Place one group, and return the ids of those that have no node now."""
    try:
        demand = demand_of(tasks[0])
    except errors.Invalid as exc:
        refused: Iterable[Task] = [place.refuse(task, exc.message) for task in tasks]
        assigned: Sequence[Task] = ()
    else:
        if tasks[0].node_id:
            checked = [place.check(fleet, demand, task, now) for task in tasks]
            assigned = [task for task in checked if task.status.state != TASK_STATE_PENDING]
            refused = [task for task in checked if task.status.state == TASK_STATE_PENDING]
        else:
            placement = place.place(fleet, demand, tasks, now)
            assigned, refused = placement.assigned, placement.refused
    for task in (*assigned, *refused):
        if task is not tx.get(TASKS, task.id):
            tx.update(TASKS, task)
    return [task.id for task in refused]
