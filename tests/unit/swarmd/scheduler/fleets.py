"""Fleets and tasks for the scheduler's tests."""

from __future__ import annotations

from typing import Any

from beeyard.swarm.v1.objects_pb2 import (
    PUBLISH_MODE_HOST,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    PublishedPort,
    Task,
)
from services.swarmd.scheduler.core.demand import demand_of
from services.swarmd.scheduler.core.fleet import Fleet
from services.swarmd.scheduler.core.nodes import NodeView
from services.swarmd.scheduler.core.place import Placement, place

NOW = 1000.0


def fleet_of(*nodes: NodeView) -> Fleet:
    fleet = Fleet()
    for node in nodes:
        fleet.set_node(node)
    return fleet


def nodes(count: int, **fields: Any) -> list[NodeView]:
    return [NodeView(id=f"n{number:02d}", **fields) for number in range(1, count + 1)]


def tasks(
    count: int, *, service: str = "web", version: int = 1, host_port: int = 0, **spec: Any
) -> list[Task]:
    made = []
    for number in range(1, count + 1):
        task = Task(
            id=f"{service}-{version}-{number:04d}", service_id=service, slot=number, spec_version=version
        )
        task.desired_state = TASK_STATE_RUNNING
        task.status.state = TASK_STATE_PENDING
        if "memory" in spec:
            task.spec.reservations.memory_bytes = spec["memory"]
        if "cpus" in spec:
            task.spec.reservations.nano_cpus = spec["cpus"]
        for kind, amount in spec.get("generic", {}).items():
            task.spec.reservations.generic[kind] = amount
        task.spec.placement.constraints.extend(spec.get("constraints", ()))
        task.spec.placement.platforms.extend(spec.get("platforms", ()))
        task.spec.placement.spread_over.extend(spec.get("spread_over", ()))
        task.spec.placement.max_replicas_per_node = spec.get("per_node", 0)
        if host_port:
            task.endpoint.ports.append(
                PublishedPort(
                    protocol="tcp", target_port=80, published_port=host_port, mode=PUBLISH_MODE_HOST
                )
            )
        made.append(task)
    return made


def put(fleet: Fleet, wanted: list[Task]) -> Placement:
    return place(fleet, demand_of(wanted[0]), wanted, NOW)


def counts(placement: Placement) -> dict[str, int]:
    result: dict[str, int] = {}
    for task in placement.assigned:
        result[task.node_id] = result.get(task.node_id, 0) + 1
    return result
