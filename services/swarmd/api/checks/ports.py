"""Published ports: within one spec, and against those of other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.api.checks.refusal import check_enum, check_text, invalid, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

PORT_MAX = 65_535
PORTS_MAX = 1024

_PROTOCOLS = frozenset({"", "tcp", "udp", "sctp"})


def is_host(port: objects_pb2.PublishedPort) -> bool:
    """Say whether a port is published on the task's own node only."""
    return port.mode == objects_pb2.PUBLISH_MODE_HOST


def check_endpoint(field: str, endpoint: objects_pb2.EndpointSpec) -> None:
    """Check the ports that one service publishes."""
    check_enum(f"{field}.mode", endpoint.mode, objects_pb2.EndpointMode.values())
    if len(endpoint.ports) > PORTS_MAX:
        raise invalid(f"{field}.ports", f"{len(endpoint.ports)} ports are more than {PORTS_MAX}")
    published: set[tuple[str, int]] = set()
    for port in endpoint.ports:
        _check_port(f"{field}.ports", port)
        if not is_host(port) and endpoint.mode == objects_pb2.ENDPOINT_MODE_DNSRR:
            raise invalid(
                f"{field}.ports",
                f"port {port.published_port or port.target_port} published in ingress mode cannot be used with dnsrr:"
                " publish it in host mode",
            )
        key = (port.protocol or "tcp", port.published_port)
        if port.published_port and key in published:
            raise invalid(f"{field}.ports", f"duplicate published port {port.published_port}/{key[0]}")
        published.add(key)


def check_free(
    wanted: Iterable[objects_pb2.PublishedPort], service_id: str, others: Iterable[objects_pb2.Service]
) -> None:
    """Refuse ports that another service has.

    An ingress port belongs to one service in the whole swarm, whatever nodes its tasks are on. Host ports are each
    node's own affair: two services may want the same one, and the scheduler keeps them apart.

    Raises:
        errors.AlreadyExists: PORT_IN_USE, naming the service that has it.
    """
    ports = {(port.protocol or "tcp", port.published_port): port for port in wanted if port.published_port}
    if not ports:
        return
    for other in others:
        if other.id == service_id:
            continue
        for taken in (*other.spec.endpoint.ports, *other.endpoint.ports):
            port = ports.get((taken.protocol or "tcp", taken.published_port))
            if port is not None and not (is_host(port) and is_host(taken)):
                raise _in_use(taken, other)


def _check_port(field: str, port: objects_pb2.PublishedPort) -> None:
    check_enum(f"{field}.mode", port.mode, objects_pb2.PublishMode.values())
    check_text(f"{field}.name", port.name)
    if port.protocol not in _PROTOCOLS:
        raise invalid(f"{field}.protocol", f"{shown(port.protocol)} is not one of tcp, udp, sctp")
    if not 0 < port.target_port <= PORT_MAX:
        raise invalid(f"{field}.target_port", f"{port.target_port} is not in 1-{PORT_MAX}")
    if port.published_port > PORT_MAX:
        raise invalid(f"{field}.published_port", f"{port.published_port} is not in 0-{PORT_MAX}")


def _in_use(taken: objects_pb2.PublishedPort, other: objects_pb2.Service) -> errors.AlreadyExists:
    how = "a host-published port" if is_host(taken) else "an ingress port"
    return errors.AlreadyExists(
        f"port '{taken.published_port}' is already in use by service '{other.spec.annotations.name}' ({other.id}) as"
        f" {how}",
        reason="PORT_IN_USE",
        metadata={
            "port": str(taken.published_port),
            "protocol": taken.protocol or "tcp",
            "service_id": other.id,
            "service": other.spec.annotations.name,
        },
    )
