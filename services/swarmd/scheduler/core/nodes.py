"""Nodes as decisions see them: plain values, made from the objects of the store. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.store.timestamps import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.swarm.v1.objects_pb2 import Node, NodeResources

_NO_LABELS: Mapping[str, str] = {}
_GONE = frozenset({objects_pb2.NODE_STATE_DOWN, objects_pb2.NODE_STATE_DISCONNECTED})
_ROLES = {objects_pb2.NODE_ROLE_WORKER: "worker", objects_pb2.NODE_ROLE_MANAGER: "manager"}
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "x86-64": "x86_64"}


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node has, or a task reserves."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    generic: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.nano_cpus or self.memory_bytes or self.generic)


NOTHING = Resources()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node.

    Attributes:
        ready: It is heard of, and may get tasks.
        gone: It is not heard of any more, or left: nothing there can be reached.
        drained: The user wants nothing to run there.
        paused: The user wants nothing more to start there.
        since: When it came to its state.
        plugins: "Network/bridge", "Volume/local", "Log/k8s-file"; none if the node does not say.
    """

    id: str
    hostname: str = ""
    address: str = ""
    role: str = "worker"
    os: str = "linux"
    architecture: str = "x86_64"
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    engine_labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    ready: bool = True
    gone: bool = False
    drained: bool = False
    paused: bool = False
    since: float = 0.0
    resources: Resources = NOTHING
    plugins: frozenset[str] = frozenset()

    @property
    def invalid(self) -> bool:
        """Whether the tasks there are to be replaced elsewhere."""
        return self.gone or self.drained

    @property
    def label(self) -> str:
        """The name to show to people."""
        return self.hostname or self.id


def node_view(node: Node) -> NodeView:
    """Return a node of the store as decisions see it."""
    availability = node.spec.availability
    description = node.description
    state = node.status.state
    drained = availability == objects_pb2.NODE_AVAILABILITY_DRAIN
    paused = availability == objects_pb2.NODE_AVAILABILITY_PAUSE
    return NodeView(
        id=node.id,
        hostname=node.spec.annotations.name or description.hostname,
        address=_host(node.status.address or description.address),
        role=_ROLES.get(node.role or node.spec.role, "worker"),
        os=description.os,
        architecture=canonical_architecture(description.architecture),
        labels=dict(node.spec.annotations.labels),
        engine_labels=dict(description.engine_labels),
        ready=state == objects_pb2.NODE_STATE_READY and not drained and not paused,
        gone=state in _GONE,
        drained=drained,
        paused=paused,
        since=seconds(node.status.since),
        resources=resources_of(description.resources),
        plugins=frozenset(description.plugins),
    )


def resources_of(resources: NodeResources) -> Resources:
    """Return resources of the store as decisions see them."""
    generic = dict(resources.generic) if resources.generic else NOTHING.generic
    return Resources(resources.nano_cpus, resources.memory_bytes, generic)


def canonical_architecture(name: str) -> str:
    """Return the one name of an architecture: "x86_64" for "amd64", "aarch64" for "arm64"."""
    lowered = name.lower()
    return _ARCHITECTURES.get(lowered, lowered)


def _host(address: str) -> str:
    """Return the host of "host:port", "[v6]:port" or a bare host."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, _ = address.rpartition(":")
    return host if colon and ":" not in host else address
