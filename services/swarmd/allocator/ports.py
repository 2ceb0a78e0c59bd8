"""Published ports. Pure.

A port of the ingress kind belongs to one service in the whole swarm, for each protocol apart. The user names it, or
gets one of 30000 to 32767. Ports of the host kind are not given out here, since two services may have the same one on
different nodes; but a number cannot be of both kinds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    PUBLISH_MODE_HOST,
    PUBLISH_MODE_INGRESS,
    PublishedPort,
    ServiceEndpoint,
)
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import PublishMode, Service

DYNAMIC_FIRST = 30000
DYNAMIC_LAST = 32767


@dataclass(frozen=True, slots=True)
class _Owner:
    """A service that has a port, or asks for it, and how."""

    service_id: str
    service_name: str
    mode: PublishMode.ValueType
    holds: bool


class Ports:
    """Which ports the services of a swarm have.

    Args:
        services: All services. What their endpoints hold is taken; what their specs ask for is not offered to others,
            though they may not hold it yet.
    """

    def __init__(self, services: Iterable[Service]) -> None:
        self._owners: dict[tuple[str, int], list[_Owner]] = {}
        for service in services:
            self.add(service)

    def add(self, service: Service) -> None:
        """Count what a service has and asks for."""
        self._count(service, service.endpoint.ports, holds=True)
        self._count(service, service.spec.endpoint.ports, holds=False)

    def remove(self, service_id: str) -> None:
        """Count what a service has no more."""
        for key, owners in list(self._owners.items()):
            left = [owner for owner in owners if owner.service_id != service_id]
            if left:
                self._owners[key] = left
            else:
                del self._owners[key]

    def allocate(self, service: Service) -> ServiceEndpoint:
        """Return the endpoint of a service with all ports filled in; what it has already, it keeps.

        The API refuses what another service has; but two that ask for one port at the same moment may both be let in.
        Here the first one gets it.

        Raises:
            errors.AlreadyExists: Another service has one of the ports; the message names it.
            errors.Exhausted: No port is free in the dynamic range.
        """
        for port in service.spec.endpoint.ports:
            if port.published_port:
                self._check_port(service.id, port)
        held = [copy_port(port) for port in service.endpoint.ports]
        endpoint = copy_of_endpoint(service.endpoint)
        del endpoint.ports[:]
        ports = [_normal(port) for port in service.spec.endpoint.ports]
        chosen = {(port.protocol, port.published_port) for port in ports}
        for port in ports:
            if port.mode == PUBLISH_MODE_INGRESS and not port.published_port:
                port.published_port = _take_back(held, port, chosen) or self._pick(port.protocol, chosen)
                chosen.add((port.protocol, port.published_port))
        endpoint.ports.extend(ports)
        return endpoint

    def _count(self, service: Service, ports: Iterable[PublishedPort], *, holds: bool) -> None:
        for port in ports:
            if port.published_port:
                normal = _normal(port)
                owner = _Owner(service.id, service.spec.annotations.name, normal.mode, holds)
                owners = self._owners.setdefault((normal.protocol, normal.published_port), [])
                if owner not in owners:
                    owners.append(owner)

    def _check_port(self, service_id: str, port: PublishedPort) -> None:
        host = port.mode == PUBLISH_MODE_HOST
        for owner in self._owners.get((port.protocol or "tcp", port.published_port), ()):
            if owner.service_id == service_id or not owner.holds:
                continue
            if host and owner.mode == PUBLISH_MODE_HOST:
                continue  # kept apart node by node, by the scheduler
            kind = "a host-published port" if owner.mode == PUBLISH_MODE_HOST else "an ingress port"
            raise errors.AlreadyExists(
                f"port '{port.published_port}' is already in use by service '{owner.service_name}' "
                f"({owner.service_id}) as {kind}",
                reason="PORT_IN_USE",
                metadata={"port": str(port.published_port), "service": owner.service_id},
            )

    def _pick(self, protocol: str, chosen: set[tuple[str, int]]) -> int:
        """Return a free port of the dynamic range.

        The next after the highest that is taken, so that a port which was freed rests for a while; the lowest free one
        when there is none above.
        """
        taken = {number for owner, number in (*self._owners, *chosen) if owner == protocol}
        dynamic = range(DYNAMIC_FIRST, DYNAMIC_LAST + 1)
        highest: int = max(taken.intersection(dynamic), default=DYNAMIC_FIRST - 1)
        for number in itertools.chain(range(highest + 1, DYNAMIC_LAST + 1), dynamic):
            if number not in taken:
                return number
        raise errors.Exhausted(
            f"no free {protocol} port between {DYNAMIC_FIRST} and {DYNAMIC_LAST}", reason="PORTS_EXHAUSTED"
        )


def _take_back(held: list[PublishedPort], wanted: PublishedPort, chosen: set[tuple[str, int]]) -> int:
    """Return the port that was picked before for the same target, and strike it from what is held; 0 if none."""
    for place, port in enumerate(held):
        same = (port.protocol, port.target_port, port.mode) == (
            wanted.protocol,
            wanted.target_port,
            wanted.mode,
        )
        dynamic = DYNAMIC_FIRST <= port.published_port <= DYNAMIC_LAST
        if same and dynamic and (port.protocol, port.published_port) not in chosen:
            del held[place]
            return port.published_port
    return 0


def copy_port(port: PublishedPort) -> PublishedPort:
    """Return a copy of a port."""
    fresh = PublishedPort()
    fresh.CopyFrom(port)
    return fresh


def copy_of_endpoint(endpoint: ServiceEndpoint) -> ServiceEndpoint:
    """Return a copy of an endpoint."""
    fresh = ServiceEndpoint()
    fresh.CopyFrom(endpoint)
    return fresh


def is_allocated(service: Service) -> bool:
    """Say whether the endpoint of a service has all that its spec asks for, and nothing else."""
    held, wanted = service.endpoint.ports, service.spec.endpoint.ports
    return len(held) == len(wanted) and all(
        _fulfils(port, spec) for port, spec in zip(held, wanted, strict=True)
    )


def _fulfils(held: PublishedPort, wanted: PublishedPort) -> bool:
    normal = _normal(wanted)
    if normal.mode == PUBLISH_MODE_INGRESS and not normal.published_port:
        normal.published_port = held.published_port
        return bool(held.published_port) and held == normal
    return held == normal


def _normal(port: PublishedPort) -> PublishedPort:
    normal = copy_port(port)
    normal.protocol = port.protocol or "tcp"
    normal.mode = port.mode or PUBLISH_MODE_INGRESS
    return normal
