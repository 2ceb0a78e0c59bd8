"""Small objects for the store's tests."""

from __future__ import annotations

from beeyard.swarm.v1.objects_pb2 import Node, Secret, Service, Task


def service(name: str, object_id: str = "") -> Service:
    made = Service(id=object_id or f"id-{name}")
    made.spec.annotations.name = name
    made.spec.mode.replicated.replicas = 1
    return made


def task(object_id: str, service_id: str = "s", slot: int = 1, node_id: str = "", desired: int = 512) -> Task:
    return Task(id=object_id, service_id=service_id, slot=slot, node_id=node_id, desired_state=desired)  # type: ignore[arg-type]


def node(object_id: str, hostname: str = "") -> Node:
    made = Node(id=object_id)
    made.description.hostname = hostname
    return made


def secret(name: str, data: bytes = b"x") -> Secret:
    made = Secret(id=f"id-{name}")
    made.spec.annotations.name = name
    made.spec.data = data
    return made
