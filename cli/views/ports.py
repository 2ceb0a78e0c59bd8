"""Published ports, as lists and inspections show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cli.format.values import NO_LIST, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.container.v1 import spec_pb2 as spec

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (shown, not listened on)


class Run(NamedTuple):
    """Ports that follow each other, mapped to ports that follow each other."""

    protocol: str
    host_ip: str
    host_first: int
    first: int
    length: int


def runs(bindings: Iterable[spec.PortBinding], anywhere: str = ANY_ADDRESS) -> list[Run]:
    """Join bindings whose ports follow each other; in the order of the container's ports.

    Those to no address in particular have the address `anywhere`.
    """
    joined: list[Run] = []
    for binding in sorted(bindings, key=_order):
        last = binding.container_port_end or binding.container_port
        run = Run(
            protocol=binding.protocol or "tcp",
            host_ip=binding.host_ip or anywhere,
            host_first=binding.host_port,
            first=binding.container_port,
            length=last - binding.container_port + 1,
        )
        before = joined[-1] if joined else None
        if before is not None and run == before._replace(
            host_first=before.host_first + before.length,
            first=before.first + before.length,
            length=run.length,
        ):
            joined[-1] = before._replace(length=before.length + run.length)
        else:
            joined.append(run)
    return joined


def _order(binding: spec.PortBinding) -> tuple[str, str, int, int]:
    return (binding.host_ip, binding.protocol or "tcp", binding.container_port, binding.host_port)


def listed(bindings: Iterable[spec.PortBinding], exposed: Iterable[str]) -> str:
    """Return the PORTS column: "0.0.0.0:8080->80/tcp, 443/tcp"."""
    bound = runs(bindings)
    shown = [
        f"{host(run.host_ip)}:{span(run.host_first, run.length)}->{span(run.first, run.length)}/{run.protocol}"
        for run in sorted(bound, key=lambda run: (run.first, run.host_ip))
    ]
    only_exposed = [text for text in exposed if not any(_covers(run, text) for run in bound)]
    return ", ".join([*sorted(only_exposed, key=_natural), *shown])


def span(first: int, count: int) -> str:
    """Write a port or a range of them."""
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def host(address: str) -> str:
    """Write an address so that a port may follow."""
    return f"[{address}]" if ":" in address else address


def each(bindings: Iterable[spec.PortBinding], anywhere: str = ANY_ADDRESS) -> list[tuple[str, str, int]]:
    """Return every single mapping: "80/tcp", host's address, host's port; in the order of the container's ports."""
    return [
        (f"{run.first + offset}/{run.protocol}", run.host_ip, run.host_first + offset)
        for run in sorted(runs(bindings, anywhere), key=lambda run: (run.first, run.protocol, run.host_ip))
        for offset in range(run.length)
    ]


def port_map(
    bindings: Iterable[spec.PortBinding], exposed: Iterable[str] = (), anywhere: str = ANY_ADDRESS
) -> dict[str, Any]:
    """Return docker's PortMap: {"80/tcp": [{"HostIp": …, "HostPort": …}]}; what is only exposed is null."""
    found: dict[str, Any] = {text: NO_LIST for text in exposed if "-" not in text}
    for port, address, number in each(bindings, anywhere):
        found[port] = [*(found.get(port) or ()), Struct(HostIp=address, HostPort=str(number or ""))]
    return found


def exposed(network: spec.Network) -> list[str]:
    """Return all ports that a container exposes, as "80/tcp": what is published is exposed as well."""
    published = [port for port, _, _ in each(network.ports)]
    return list(dict.fromkeys([*network.expose, *published]))


def _covers(run: Run, exposed: str) -> bool:
    ports, _, protocol = exposed.partition("/")
    first, _, last = ports.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()) or (protocol or "tcp") != run.protocol:
        return False
    return run.first <= int(first) and int(last or first) < run.first + run.length


def _natural(text: str) -> tuple[int, str]:
    digits = text.partition("/")[0].partition("-")[0]
    return (int(digits) if digits.isdecimal() else 0, text)
