"""--publish of containers and of services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2 as container
from cli.specs.values import csv_fields, invalid

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2 as swarm

PROTOCOLS = ("tcp", "udp", "sctp")
PORT_MAX = 65535
PORT_DIGITS_MAX = 10
SERVICE_PORTS_MAX = 1000


def _port_range(text: str, whole: str, option: str = "--publish") -> tuple[int, int]:
    first, separator, last = text.partition("-")
    last = last if separator else first
    if not all(
        part.isascii() and part.isdecimal() and len(part) <= PORT_DIGITS_MAX for part in (first, last)
    ):
        raise invalid(f"{option} {whole!r}: {text!r} is no port or range of ports")
    start, end = int(first), int(last)
    if start > end:
        raise invalid(f"{option} {whole!r}: {text!r} ends before it begins")
    if not 0 < start <= end <= PORT_MAX:
        raise invalid(f"{option} {whole!r}: {text!r} is not within 1-{PORT_MAX}")
    return start, end


def _protocol(text: str, whole: str, option: str = "--publish") -> str:
    if text.lower() not in PROTOCOLS:
        raise invalid(f"{option} {whole!r}: protocol {text!r}: use {', '.join(PROTOCOLS)}")
    return text.lower()


def parse_exposed(text: str, option: str) -> tuple[int, int, str]:
    """Read port[-port][/protocol]: the first and the last port, and the protocol.

    Raises:
        errors.Invalid: It is malformed.
    """
    ports, separator, protocol = text.partition("/")
    first, last = _port_range(ports, text, option)
    return first, last, _protocol(protocol, text, option) if separator else "tcp"


def _split(text: str) -> tuple[str, str, str, str]:
    """Split [[ip:][host]:]container[/protocol] into its four parts."""
    ports, separator, protocol = text.partition("/")
    protocol = _protocol(protocol, text) if separator else "tcp"
    left, separator, inside = ports.rpartition(":")
    if left.startswith("["):
        address, separator, outside = left[1:].rpartition("]:")
        if not separator:
            address, outside = left[1:].rstrip("]"), ""
    elif ":" in left:
        address, _, outside = left.rpartition(":")
    else:
        address, outside = "", left
    return address, outside, inside, protocol


def parse_container(text: str) -> container.PortBinding:
    """Read a --publish value of `run`: [[ip:][hostPort]:]containerPort[/protocol], with ranges.

    Raises:
        errors.Invalid: It is malformed, or the ranges differ in length.
    """
    if "=" in text:
        return _container_long(text)
    address, outside, inside, protocol = _split(text)
    _check_address(address, text)
    first, last = _port_range(inside, text)
    host_first, host_last = _port_range(outside, text) if outside.strip("0") else (0, 0)
    if outside and host_last - host_first != last - first and first != last:
        raise invalid(f"--publish {text!r}: the two ranges differ in length")
    return container.PortBinding(
        host_ip=address,
        host_port=host_first,
        host_port_end=host_last if host_last != host_first else 0,
        container_port=first,
        container_port_end=last if last != first else 0,
        protocol=protocol,
    )


def _check_address(address: str, whole: str) -> None:
    if not address:
        return
    import ipaddress

    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise invalid(f"--publish {whole!r}: {address!r} is not an IP address") from None


def _container_long(text: str) -> container.PortBinding:
    port = _parse_long(text)
    return container.PortBinding(
        host_port=port.published_port, container_port=port.target_port, protocol=port.protocol or "tcp"
    )


def parse_service(text: str) -> list[swarm.PublishedPort]:
    """Read a --publish value of `service`: target=…,published=…,protocol=…,mode=…, or [published:]target[/protocol].

    Raises:
        errors.Invalid: It is malformed, or names an address of the host.
    """
    from beeyard.swarm.v1 import objects_pb2 as swarm

    if "=" in text:
        return [_parse_long(text)]
    address, outside, inside, protocol = _split(text)
    if address:
        raise invalid(f"--publish {text!r}: hostip is not supported for services")
    first, last = _port_range(inside, text)
    published = _port_range(outside, text) if outside else (0, last - first)
    if published[1] - published[0] != last - first:
        raise invalid(f"--publish {text!r}: the two ranges differ in length")
    if last - first >= SERVICE_PORTS_MAX:
        raise invalid(f"--publish {text!r}: more than {SERVICE_PORTS_MAX} ports")
    return [
        swarm.PublishedPort(
            protocol=protocol,
            target_port=first + offset,
            published_port=published[0] + offset if outside else 0,
            mode=swarm.PUBLISH_MODE_INGRESS,
        )
        for offset in range(last - first + 1)
    ]


def _parse_long(text: str) -> swarm.PublishedPort:
    from beeyard.swarm.v1 import objects_pb2 as swarm

    port = swarm.PublishedPort(protocol="tcp", mode=swarm.PUBLISH_MODE_INGRESS)
    for field, value in csv_fields(text, "--publish"):
        match field:
            case "target" if value:
                port.target_port = _port_range(value, text)[0]
            case "published" if value:
                port.published_port = _port_range(value, text)[0]
            case "protocol" if value:
                port.protocol = _protocol(value, text)
            case "mode" if value in ("ingress", "host"):
                port.mode = swarm.PUBLISH_MODE_HOST if value == "host" else swarm.PUBLISH_MODE_INGRESS
            case "mode":
                raise invalid(f"--publish {text!r}: mode {value!r}: use ingress or host")
            case _:
                raise invalid(f"--publish {text!r}: unexpected field {field!r}")
    if not port.target_port:
        raise invalid(f"--publish {text!r}: missing mandatory field target")
    return port
