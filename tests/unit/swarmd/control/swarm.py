"""A planner over a store in memory, for one pass after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import Node, PublishedPort, Service, Task
from services.swarmd.control.planner import Planner, unit_of
from services.swarmd.store.changes import Committed
from services.swarmd.store.tables import NODES, SERVICES, TASKS, copy_of
from services.swarmd.store.transaction import Tx
from tests.sim.swarm.cluster import Cluster


class Swarm:
    """Nodes, services, and a leader that makes all passes that are due after each change."""

    def __init__(self, nodes: int = 3) -> None:
        self.cluster = Cluster()
        self.planner = Planner(self.cluster.new_id)
        self.cluster.listeners.append(lambda committed: self.planner.observe(committed, self.cluster.view()))
        self.entries = 0
        for number in range(1, nodes + 1):
            self.add_node(f"n{number}")

    def change(self, change: Callable[[Tx], Any]) -> None:
        self.cluster.update(change)

    def add_node(self, node_id: str, memory: int = 0) -> None:
        node = Node(id=node_id)
        node.status.state = objects_pb2.NODE_STATE_READY
        node.description.hostname = node_id
        node.description.resources.memory_bytes = memory
        self.change(lambda tx: tx.create(NODES, node))

    def set_node(self, node_id: str, edit: Callable[[Node], None]) -> None:
        node = copy_of(self.cluster.view().get(NODES, node_id))  # type: ignore[type-var]
        edit(node)  # type: ignore[arg-type]
        self.change(lambda tx: tx.update(NODES, node))  # type: ignore[arg-type]

    def add_service(self, name: str, replicas: int = 1, edit: Callable[[Service], None] | None = None) -> str:
        service = Service(id=f"id-{name}")
        service.spec.annotations.name = name
        service.spec.mode.replicated.replicas = replicas
        service.spec.task.container.image = "web:1"
        if edit is not None:
            edit(service)
        self.change(lambda tx: tx.create(SERVICES, service))
        return service.id

    def set_task(self, task_id: str, state: int) -> None:
        task = copy_of(self.cluster.view().get(TASKS, task_id))  # type: ignore[type-var]
        task.status.state = state  # type: ignore[union-attr]
        self.change(lambda tx: tx.update(TASKS, task))  # type: ignore[arg-type]

    def passes(self) -> int:
        """Make all passes that are due; return how many entries that took."""
        before = self.entries
        for _ in range(100):
            due = self.planner.next_pass_at(self.cluster.now)
            if due > self.cluster.now + 1.0:
                return self.entries - before
            self.cluster.now = max(due, self.cluster.now)
            tx = self.planner.plan(self.cluster.view(), self.cluster.now)
            for entry in tx.entries(self.cluster.time, unit_of):
                self.entries += 1
                assert isinstance(self.cluster.commit(entry.data), Committed)
        raise AssertionError("the passes do not end")

    def tasks(self, service_id: str = "") -> list[Task]:
        tasks = [task for task in self.cluster.view().list(TASKS) if service_id in {"", task.service_id}]
        return sorted(tasks, key=lambda task: (task.service_id, task.slot, task.id))


def publish(published: int) -> Callable[[Service], None]:
    def edit(service: Service) -> None:
        service.spec.endpoint.ports.append(PublishedPort(target_port=80, published_port=published))

    return edit
