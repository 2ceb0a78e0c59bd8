"""One service on a few nodes, looked at by the real cores; the test plays the nodes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_COMPLETE,
    TASK_STATE_FAILED,
    TASK_STATE_NEW,
    TASK_STATE_READY,
    TASK_STATE_REJECTED,
    TASK_STATE_RUNNING,
    TASK_STATE_SHUTDOWN,
    Service,
    ServiceSpec,
    Task,
    TaskStatus,
)
from services.swarmd.api import revision
from services.swarmd.dispatcher.core import statuses
from services.swarmd.orchestrator.core.draft import Plan, World
from services.swarmd.orchestrator.core.reconcile import reconcile
from services.swarmd.orchestrator.core.states import is_active, is_terminal
from services.swarmd.scheduler.core import place
from services.swarmd.scheduler.core.nodes import NodeView
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

READY = TASK_STATE_READY
RUNNING = TASK_STATE_RUNNING
COMPLETE = TASK_STATE_COMPLETE
SHUTDOWN = TASK_STATE_SHUTDOWN
FAILED = TASK_STATE_FAILED
REJECTED = TASK_STATE_REJECTED
REMOVE = objects_pb2.TASK_STATE_REMOVE

STOP_FIRST = objects_pb2.UPDATE_ORDER_STOP_FIRST
START_FIRST = objects_pb2.UPDATE_ORDER_START_FIRST
PAUSE = objects_pb2.UPDATE_FAILURE_ACTION_PAUSE
CONTINUE = objects_pb2.UPDATE_FAILURE_ACTION_CONTINUE
ROLLBACK = objects_pb2.UPDATE_FAILURE_ACTION_ROLLBACK
NONE = objects_pb2.TASK_RESTART_CONDITION_NONE
ON_FAILURE = objects_pb2.TASK_RESTART_CONDITION_ON_FAILURE

START = 1_700_000_000.0
LOOKS_MAX = 50


class Stage:
    """A service, its tasks and its nodes."""

    def __init__(self, *, replicas: int | None = 3, nodes: int = 3, mode: str = "replicated", **fields: Any):
        self.now = START
        self.version = 10
        self.history_limit: int | None = 5
        self.nodes = {f"n{n}": NodeView(id=f"n{n}", hostname=f"host-{n}") for n in range(1, nodes + 1)}
        self.service = Service(id="svc", spec_version=1)
        self.service.meta.version = 1
        spec = self.service.spec
        spec.annotations.name = "web"
        spec.task.container.image = "web:1"
        if mode == "replicated":
            spec.mode.replicated.replicas = replicas or 0
        else:
            getattr(spec.mode, mode).SetInParent()
        if mode.endswith("job"):
            self.service.job.iteration = 1
        _set(spec, fields)
        self.tasks: dict[str, Task] = {}
        self.made: list[str] = []
        self._ids = 0

    # Looking.

    def look(self) -> Plan:
        """Look once, carry out what is due, and see that nothing is due then."""
        plan = self._plan()
        self.version += 1
        if plan.service is not None:
            self._put_service(plan.service)
        for task in (*plan.made, *plan.changed):
            self._put(task)
        self.made += [task.id for task in plan.made]
        for task_id in plan.removed:
            del self.tasks[task_id]
        again = self._plan()
        assert not again, f"a second look at the same moment asks for more: {again}"
        return plan

    def _plan(self) -> Plan:
        world = World(now=self.now, nodes=self.nodes, new_id=self._new_id, history_limit=self.history_limit)
        return reconcile(world, self.service, list(self.tasks.values()))

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, in which the nodes do all that they are asked to at once."""
        ends = self.now + seconds
        for _ in range(LOOKS_MAX):
            plan = self.look()
            if self.obey() or plan:
                continue
            if plan.wakeup is None or plan.wakeup > ends:
                self.now = ends
                return
            self.now = plan.wakeup
        raise AssertionError(f"not at rest after {LOOKS_MAX} looks")

    def obey(self) -> bool:
        """Let the nodes do what they are asked to; say whether there was anything."""
        before = dict(self.tasks)
        for task in list(self.tasks.values()):
            if is_active(task) and not is_terminal(task) and not task.node_id:
                self.assign(task)
        for task in list(self.tasks.values()):
            node = self.nodes.get(task.node_id)
            if node is None or node.gone or is_terminal(task):
                continue
            if task.status.state == TASK_STATE_NEW:
                self._put(place.assign(task, task.node_id, self.now))
            elif task.desired_state >= SHUTDOWN:
                self.report(task, SHUTDOWN)
            elif task.status.state < (wanted := min(task.desired_state, RUNNING)):
                self.report(task, wanted)
        return self.tasks != before

    def assign(self, task: Task, node_id: str = "") -> None:
        """Give a task a node: the one with the fewest."""
        counts = {node.id: 0 for node in self.nodes.values() if node.ready and not node.invalid}
        for other in self.tasks.values():
            if is_active(other) and other.node_id in counts:
                counts[other.node_id] += 1
        if node_id or counts:
            self._put(
                place.assign(task, node_id or min(counts, key=lambda node: (counts[node], node)), self.now)
            )

    # What nodes and users do.

    def report(self, task: Task | str, state: int, error: str = "") -> None:
        """Let the node of a task report a state."""
        current = self.tasks[task if isinstance(task, str) else task.id]
        status = TaskStatus(state=state, error=error)  # type: ignore[arg-type]
        timestamps.put(status.since, self.now)
        accepted = statuses.merge(current, status, now=self._datetime, leader_id="m1")
        assert accepted is not None, f"{current} cannot become {state}"
        self._put(accepted)

    def update(self, **fields: Any) -> None:
        """Change the spec, as the API does."""
        spec = ServiceSpec()
        spec.CopyFrom(self.service.spec)
        _set(spec, fields)
        self.version += 1
        self._put_service(revision.updated(self.service, spec, self._datetime))

    def roll_back(self) -> None:
        self.version += 1
        self._put_service(revision.rolled_back(self.service, self._datetime))

    def set_node(self, node_id: str, **fields: Any) -> None:
        current = self.nodes[node_id]
        values = {name: getattr(current, name) for name in NodeView.__dataclass_fields__}
        values.update(fields)
        if values["gone"] or values["drained"] or values["paused"]:
            values["ready"] = False
        self.nodes[node_id] = NodeView(**values)

    # What is seen.

    def active(self, slot: int | str | None = None) -> list[Task]:
        return [task for task in self._sorted(slot) if is_active(task)]

    def running(self, slot: int | str | None = None) -> list[Task]:
        return [task for task in self.active(slot) if task.status.state == RUNNING]

    def of_slot(self, slot: int | str) -> list[Task]:
        return self._sorted(slot)

    def newest(self, slot: int | str) -> Task:
        return self._sorted(slot)[-1]

    def images(self) -> list[str]:
        return [task.spec.container.image for task in self.running()]

    def spread(self) -> list[int]:
        counts = dict.fromkeys(self.nodes, 0)
        for task in self.active():
            counts[task.node_id] += 1
        return sorted(counts.values(), reverse=True)

    @property
    def update_state(self) -> str:
        return objects_pb2.UpdateState.Name(self.service.update_status.state).removeprefix("UPDATE_STATE_")

    @property
    def _datetime(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def _sorted(self, slot: int | str | None) -> list[Task]:
        tasks = [task for task in self.tasks.values() if slot is None or slot == (task.slot or task.node_id)]
        return sorted(tasks, key=lambda task: (task.slot, task.meta.created_version, task.id))

    def _put(self, task: Task) -> None:
        stored = copy_of(task)
        known = self.tasks.get(task.id)
        if known is None:
            stored.meta.created_version = self.version
            timestamps.put(stored.meta.created_at, self.now)
        stored.meta.version = self.version
        self.tasks[task.id] = stored

    def _put_service(self, service: Service) -> None:
        self.service = copy_of(service)
        self.service.meta.version = self.version
        if not self.service.spec_version:
            self.service.spec_version = self.version

    def _new_id(self) -> str:
        self._ids += 1
        return f"t{self._ids:04d}"


def _set(spec: ServiceSpec, fields: dict[str, Any]) -> None:
    """Set `task__container__image="x"` and the like."""
    for path, value in fields.items():
        *parents, name = path.split("__")
        target: Any = spec
        for parent in parents:
            target = getattr(target, parent)
        if isinstance(value, list):
            del getattr(target, name)[:]
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
