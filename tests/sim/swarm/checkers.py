"""What must hold at every moment, and what must hold when the faults have stopped."""

from __future__ import annotations

from collections import Counter, defaultdict

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ASSIGNED,
    TASK_STATE_COMPLETE,
    TASK_STATE_REMOVE,
    TASK_STATE_RUNNING,
    Service,
    Task,
)
from services.swarmd.orchestrator.core import policy
from services.swarmd.scheduler.core import constraints
from services.swarmd.scheduler.core.nodes import node_view
from services.swarmd.store.changes import Committed
from services.swarmd.store.tables import NODES, SERVICES, TASKS, TASKS_BY_SERVICE
from tests.sim.swarm.agents import Agents
from tests.sim.swarm.cluster import Cluster

_PAUSED = {objects_pb2.UPDATE_STATE_PAUSED, objects_pb2.UPDATE_STATE_ROLLBACK_PAUSED}
_GOING_ON = {objects_pb2.UPDATE_STATE_UPDATING, objects_pb2.UPDATE_STATE_ROLLBACK_STARTED}

SURGE_WINDOW_S = 60.0


class Violation(AssertionError):
    """Something that must never be."""


def slot_of(task: Task) -> tuple[str, int | str]:
    return (task.service_id, task.slot or task.node_id)


class Checkers:
    """Watches commits and machines."""

    def __init__(self, cluster: Cluster, agents: Agents) -> None:
        self._cluster = cluster
        self._agents = agents
        self._wanted: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.start_first: set[str] = set()
        """Services that have ever been updated by starting first."""
        cluster.listeners.append(self._on_commit)

    def step(self) -> None:
        """Check the present moment."""
        self._check_reservations()
        self._check_containers()
        self._check_limits()

    # At each commit.

    def _on_commit(self, committed: Committed) -> None:
        for service in committed.of(SERVICES):
            if service.new is not None:
                self._remember(service.new)
        for change in committed.of(TASKS):
            old, new = change.old, change.new
            if new is not None:
                self._check_task(old, new)
            elif (
                old is not None
                and TASK_STATE_ASSIGNED <= old.status.state <= TASK_STATE_RUNNING
                and self._cluster.view().get(NODES, old.node_id) is not None
            ):
                raise Violation(f"a task was forgotten that a node still has: {old}")

    def _remember(self, service: Service) -> None:
        for spec in (service.spec.update, service.spec.rollback):
            if spec.order == objects_pb2.UPDATE_ORDER_START_FIRST:
                self.start_first.add(service.id)
        if service.spec.mode.HasField("replicated"):
            self._wanted[service.id].append((self._cluster.now, service.spec.mode.replicated.replicas))

    def _check_task(self, old: Task | None, new: Task) -> None:
        if old is None:
            return
        if new.desired_state < old.desired_state:
            raise Violation(f"desired state fell: {old} -> {new}")
        if new.status.state < old.status.state:
            raise Violation(f"state fell: {old} -> {new}")
        if old.node_id and old.node_id != new.node_id:
            raise Violation(f"a task moved: {old} -> {new}")

    # At each step.

    def _check_reservations(self) -> None:
        view = self._cluster.view()
        taken: Counter[str] = Counter()
        ports: Counter[tuple[str, str, int]] = Counter()
        for task in view.list(TASKS):
            if not TASK_STATE_ASSIGNED <= task.status.state <= TASK_STATE_RUNNING:
                continue
            taken[task.node_id] += task.spec.reservations.memory_bytes
            for port in task.endpoint.ports:
                if port.mode == objects_pb2.PUBLISH_MODE_HOST:
                    ports[task.node_id, port.protocol, port.published_port] += 1
        for node in view.list(NODES):
            total = node.description.resources.memory_bytes
            if taken[node.id] > total:
                raise Violation(f"node {node.id} has {total} bytes, tasks reserve {taken[node.id]}")
        for port, count in ports.items():
            if count > 1:
                raise Violation(f"{count} tasks have host port {port}")

    def _check_limits(self) -> None:
        """Check limits that each service sets."""
        view = self._cluster.view()
        per_node: Counter[tuple[str, int, str]] = Counter()
        per_job: Counter[str] = Counter()
        for task in view.list(TASKS):
            if task.desired_state <= TASK_STATE_COMPLETE and task.status.state <= TASK_STATE_RUNNING:
                if task.status.state >= TASK_STATE_ASSIGNED:
                    per_node[task.service_id, task.spec_version, task.node_id] += 1
                per_job[task.service_id] += 1
        for service in view.list(SERVICES):
            at_once = service.spec.mode.replicated_job.max_concurrent
            if at_once and per_job[service.id] > at_once:
                raise Violation(f"{per_job[service.id]} tasks of job {service.id} at once, {at_once} allowed")
            per_node_max = service.spec.task.placement.max_replicas_per_node
            for (service_id, version, node_id), count in per_node.items():
                if (service_id, version) == (service.id, service.spec_version) and 0 < per_node_max < count:
                    raise Violation(
                        f"{count} tasks of {service_id} on node {node_id}, {per_node_max} allowed"
                    )

    def _check_containers(self) -> None:
        """Count what really runs, but for what the swarm cannot know of."""
        per_slot: Counter[tuple[str, int | str]] = Counter()
        per_service: Counter[str] = Counter()
        for agent in self._agents.agents.values():
            for container in agent.containers.values():
                if container.exists and not container.suspect:
                    per_slot[slot_of(container.task)] += 1
                    per_service[container.task.service_id] += 1
        for slot, count in per_slot.items():
            if count > (2 if slot[0] in self.start_first else 1):
                raise Violation(f"{count} containers of slot {slot} at once")
        for service_id, count in per_service.items():
            wanted = self._wanted.get(service_id)
            if not wanted:
                continue
            since = self._cluster.now - SURGE_WINDOW_S
            at_most = max(
                replicas
                for number, (_, replicas) in enumerate(wanted)
                if number + 1 == len(wanted) or wanted[number + 1][0] >= since
            )
            if service_id in self.start_first:
                at_most *= 2
            if count > at_most:
                raise Violation(f"{count} containers of service {service_id}, {at_most} wanted of late")

    # When all faults have stopped and there was time.

    def unconverged(self) -> list[str]:
        """Say what is not yet as it should be."""
        view = self._cluster.view()
        nodes = {node.id: node_view(node) for node in view.list(NODES)}
        wrong: list[str] = []
        for service in view.list(SERVICES):
            state = service.update_status.state
            if state in _GOING_ON:
                wrong.append(f"service {service.id} is being updated: {service.update_status}")
            tasks = list(view.find(TASKS_BY_SERVICE, service.id))
            if service.spec.mode.HasField("replicated_job"):
                wrong += _wrong_job(service, tasks)
                continue
            wrong += self._wrong_tasks(service, tasks)
            active = [task for task in tasks if task.desired_state <= TASK_STATE_COMPLETE]
            running = [task for task in active if task.status.state == TASK_STATE_RUNNING]
            slots = {slot_of(task) for task in running}
            if len(slots) != len(active):
                wrong.append(f"service {service.id}: {len(slots)} slots run, {len(active)} tasks are active")
            spec = service.spec
            if spec.mode.HasField("replicated") and len(slots) != spec.mode.replicated.replicas:
                wrong.append(f"service {service.id}: {len(slots)} of {spec.mode.replicated.replicas} run")
            if spec.mode.HasField("global"):
                eligible = {
                    node.id
                    for node in nodes.values()
                    if node.ready and constraints.meets(spec.task.placement.constraints, node)
                }
                if {task.node_id for task in running} != eligible:
                    wrong.append(f"service {service.id} is not on exactly {eligible}")
            if state not in _PAUSED:
                wrong += [f"task {task.id} is of an old spec" for task in running if _is_old(service, task)]
        wrong += [
            f"task {task.id} was told to end and has not"
            for task in view.list(TASKS)
            if task.desired_state > TASK_STATE_COMPLETE and task.status.state <= TASK_STATE_RUNNING
        ]
        wrong += [
            f"task {task.id} of no service is left"
            for task in view.list(TASKS)
            if view.get(SERVICES, task.service_id) is None
        ]
        return wrong

    def _wrong_tasks(self, service: Service, tasks: list[Task]) -> list[str]:
        wrong = [
            f"task {task.id} is to be removed and is there"
            for task in tasks
            if task.desired_state == TASK_STATE_REMOVE
        ]
        history: Counter[tuple[str, int | str]] = Counter(slot_of(task) for task in tasks)
        wrong += [
            f"slot {slot} has {count} tasks"
            for slot, count in history.items()
            if count > policy.HISTORY_LIMIT
        ]
        return wrong


def _wrong_job(service: Service, tasks: list[Task]) -> list[str]:
    done = {task.slot for task in tasks if task.status.state == TASK_STATE_COMPLETE}
    total = service.spec.mode.replicated_job.total_completions
    wrong = [] if len(done) == total else [f"job {service.id}: {len(done)} of {total} have completed"]
    return wrong + [
        f"task {task.id} is of an earlier run"
        for task in tasks
        if task.job_iteration != service.job.iteration
    ]


def _is_old(service: Service, task: Task) -> bool:
    return task.spec.container.image != service.spec.task.container.image
