"""What every node has left and runs: the scheduler's memory, kept in step with the store. Pure.

`observe` and `forget` are idempotent and may come in any order: a `Fleet` that was told every change equals one that
was built anew from the store, but for failures, which it remembers beyond the life of the tasks.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ASSIGNED,
    TASK_STATE_COMPLETE,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
    TASK_STATE_RUNNING,
)
from services.swarmd.scheduler.core.demand import host_ports_of
from services.swarmd.scheduler.core.nodes import resources_of
from services.swarmd.scheduler.core.resources import Room
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.demand import Demand, HostPort
    from services.swarmd.scheduler.core.nodes import NodeView, Resources

FAILURES_WINDOW_S = 300.0
FAILURES_KEPT_MAX = 100
FAILING_MAX = 10_000

Load: TypeAlias = tuple[int, float, str]
"""Active tasks, the share of memory or processors that is reserved, and the node's id, which makes it unique."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one task takes of its node.

    Attributes:
        active: It counts as a task of its service there. One that was told to end does not, but still takes resources.
    """

    node_id: str
    service_id: str
    active: bool
    reservations: Resources
    host_ports: tuple[HostPort, ...]


class NodeUsage:
    """One node: what it is, what is left of it, what runs there."""

    __slots__ = ("active", "active_by_service", "host_ports", "node", "room")

    def __init__(self, node: NodeView) -> None:
        self.node = node
        self.room = Room(node.resources)
        self.active = 0
        self.active_by_service: Counter[str] = Counter()
        self.host_ports: Counter[HostPort] = Counter()

    @property
    def load(self) -> Load:
        """How loaded the node is, whatever is to be placed; less is better."""
        total, room = self.node.resources, self.room
        memory = 1 - room.memory_bytes / total.memory_bytes if total.memory_bytes else 0.0
        cpus = 1 - room.nano_cpus / total.nano_cpus if total.nano_cpus else 0.0
        return (self.active, max(cpus, memory), self.node.id)

    def count(self, footprint: Footprint, sign: int) -> None:
        """Count a task, or with -1 count it no more."""
        if footprint.active:
            self.active += sign
            self.active_by_service[footprint.service_id] += sign
        for port in footprint.host_ports:
            self.host_ports[port] += sign
        if sign > 0:
            self.room.take(footprint.reservations)
        else:
            self.room.give_back(footprint.reservations)


class Fleet:
    """All nodes."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeUsage] = {}
        self.loosened = 0
        """Grows whenever a refusal might now turn out otherwise: a node changed, or a task gave something back."""
        self._footprints: dict[str, Footprint] = {}
        self._by_node: dict[str, dict[str, Footprint]] = {}
        self._by_service: dict[str, dict[str, None]] = {}
        self._by_load: list[Load] = []
        self._failures: dict[tuple[str, int], dict[str, dict[str, float]]] = {}

    def set_node(self, node: NodeView) -> None:
        """Add a node, or take notice of what has changed about it."""
        current = self.nodes.get(node.id)
        if current is not None:
            if current.node == node:
                return
            self._unlist(current)
        self.loosened += 1
        usage = NodeUsage(node)
        for footprint in self._by_node.get(node.id, {}).values():
            usage.count(footprint, 1)
        self.nodes[node.id] = usage
        self._list(usage)

    def drop_node(self, node_id: str) -> None:
        """Take notice that a node is no more."""
        usage = self.nodes.pop(node_id, None)
        if usage is not None:
            self._unlist(usage)
            self.loosened += 1  # nothing can be placed for that, but the explanations read otherwise

    def observe(self, task: Task) -> None:
        """Take notice of a task as it is now."""
        if task.status.state in {TASK_STATE_FAILED, TASK_STATE_REJECTED}:
            self._remember_failure(task)
        footprint = _footprint(task)
        if footprint is None:
            self.forget(task.id)
            return
        known = self._footprints.get(task.id)
        if known == footprint:
            return
        if known is not None:
            self.forget(task.id)
        self._footprints[task.id] = footprint
        self._by_node.setdefault(footprint.node_id, {})[task.id] = footprint
        self._count(footprint, 1)

    def forget(self, task_id: str) -> None:
        """Take notice that a task takes nothing any more."""
        footprint = self._footprints.pop(task_id, None)
        if footprint is None:
            return
        self.loosened += 1
        there = self._by_node[footprint.node_id]
        del there[task_id]
        if not there:
            del self._by_node[footprint.node_id]
        self._count(footprint, -1)

    def by_load(self) -> list[NodeUsage]:
        """Return all nodes, the least loaded first."""
        return [self.nodes[node_id] for _, _, node_id in self._by_load]

    def peculiar(self, demand: Demand) -> list[NodeUsage]:
        """Return the nodes whose rank for such tasks is not their load alone: some of them are, or failed, there."""
        ids = {
            **self._by_service.get(demand.service_id, {}),
            **self._failures.get((demand.service_id, demand.spec_version), {}),
        }
        return [self.nodes[node_id] for node_id in ids if node_id in self.nodes]

    def failures(self, node_id: str, demand: Demand, now: float) -> int:
        """Return how many tasks like these have failed on a node of late."""
        recent = self._failures.get((demand.service_id, demand.spec_version), {}).get(node_id)
        if recent is None:
            return 0
        return sum(failed > now - FAILURES_WINDOW_S for failed in recent.values())

    def _count(self, footprint: Footprint, sign: int) -> None:
        usage = self.nodes.get(footprint.node_id)
        if usage is None:
            return
        self._unlist(usage)
        usage.count(footprint, sign)
        bisect.insort(self._by_load, usage.load)
        self._note_service(usage, footprint.service_id)

    def _list(self, usage: NodeUsage) -> None:
        bisect.insort(self._by_load, usage.load)
        for service_id in usage.active_by_service:
            self._note_service(usage, service_id)

    def _unlist(self, usage: NodeUsage) -> None:
        del self._by_load[bisect.bisect_left(self._by_load, usage.load)]

    def _note_service(self, usage: NodeUsage, service_id: str) -> None:
        """Keep the list of nodes that have tasks of a service."""
        node_id = usage.node.id
        if usage.active_by_service[service_id] > 0:
            self._by_service.setdefault(service_id, {})[node_id] = None
        elif service_id in self._by_service:
            self._by_service[service_id].pop(node_id, None)
            if not self._by_service[service_id]:
                del self._by_service[service_id]

    def _remember_failure(self, task: Task) -> None:
        if not task.node_id:
            return
        key = (task.service_id, task.spec_version)
        if key not in self._failures and len(self._failures) >= FAILING_MAX:
            del self._failures[next(iter(self._failures))]
        by_node = self._failures.setdefault(key, {})
        recent = by_node.setdefault(task.node_id, {})
        if task.id in recent:
            return
        status = task.status
        recent[task.id] = seconds(status.applied_at if status.HasField("applied_at") else status.since)
        while len(recent) > FAILURES_KEPT_MAX:
            del recent[next(iter(recent))]


def _footprint(task: Task) -> Footprint | None:
    """Return what a task takes of its node; None if it has none, or has ended."""
    if not task.node_id or not TASK_STATE_ASSIGNED <= task.status.state <= TASK_STATE_RUNNING:
        return None
    return Footprint(
        node_id=task.node_id,
        service_id=task.service_id,
        active=task.desired_state <= TASK_STATE_COMPLETE,
        reservations=resources_of(task.spec.reservations),
        host_ports=host_ports_of(task),
    )
