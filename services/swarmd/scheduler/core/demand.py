"""What tasks ask of a node. Pure.

Tasks of one service and one spec version ask for the same, and are placed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from beeyard.swarm.v1.objects_pb2 import PUBLISH_MODE_HOST
from services.swarmd.scheduler.core import constraints
from services.swarmd.scheduler.core.nodes import NOTHING, Resources, canonical_architecture, resources_of

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.constraints import Constraint

HostPort: TypeAlias = tuple[str, int]
"""Protocol and port."""

_BUILTIN_LOG_DRIVERS = frozenset({"", "none", "k8s-file", "json-file", "local"})
_BUILTIN_VOLUME_DRIVERS = frozenset({"", "local"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a group of tasks asks of the node of each.

    Attributes:
        service_id: Their service.
        spec_version: The version of its spec that they are made from.
        reservations: What each takes of its node.
        constraints: What each node must meet.
        platforms: Pairs of system and architecture, each of which will do; "" is any. None is all.
        host_ports: Ports that each takes on its node.
        plugins: What each node must have.
        per_node_max: At most so many active tasks of the service on a node; 0 is no limit.
        spread_over: Keys of labels over whose values they are spread, outermost first.
    """

    service_id: str
    spec_version: int = 0
    reservations: Resources = NOTHING
    constraints: tuple[Constraint, ...] = ()
    platforms: tuple[tuple[str, str], ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    plugins: frozenset[str] = frozenset()
    per_node_max: int = 0
    spread_over: tuple[str, ...] = ()


def demand_of(task: Task) -> Demand:
    """Return what a task asks for.

    Raises:
        errors.Invalid: A constraint cannot be parsed.
    """
    spec = task.spec
    return Demand(
        service_id=task.service_id,
        spec_version=task.spec_version,
        reservations=resources_of(spec.reservations),
        constraints=constraints.parse_all(spec.placement.constraints),
        platforms=tuple(_platform(platform) for platform in spec.placement.platforms),
        host_ports=host_ports_of(task),
        plugins=_plugins(task),
        per_node_max=spec.placement.max_replicas_per_node,
        spread_over=tuple(spec.placement.spread_over),
    )


def host_ports_of(task: Task) -> tuple[HostPort, ...]:
    """Return the ports that a task takes on its node, but those that the node picks."""
    return tuple(
        (port.protocol or "tcp", port.published_port)
        for port in task.endpoint.ports
        if port.mode == PUBLISH_MODE_HOST and port.published_port
    )


def _platform(written: str) -> tuple[str, str]:
    """Split "linux/amd64" or "linux/arm/v7"; the variant is the node's engine's to judge."""
    system, _, rest = written.partition("/")
    return system.lower(), canonical_architecture(rest.partition("/")[0])


def _plugins(task: Task) -> frozenset[str]:
    container = task.spec.container
    wanted = {
        f"Volume/{mount.volume_driver}"
        for mount in container.mounts
        if mount.volume_driver not in _BUILTIN_VOLUME_DRIVERS
    }
    if container.log.driver not in _BUILTIN_LOG_DRIVERS:
        wanted.add(f"Log/{container.log.driver}")
    return frozenset(wanted)
