"""Published ports: an address and port of the node that lead to a port of a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from services.kit import errors
from services.netd.model.address import ANY

PORT_MAX = 65535


class Protocol(StrEnum):
    """The protocols that ports are published of; the values are nftables' names."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PortRange:
    """A run of ports, both ends included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= PORT_MAX:
            raise errors.Invalid(f"invalid port range {self.first}-{self.last}", reason="SPEC_INVALID")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """What a user asks to be published.

    As many host ports as target ports are mapped one to one; several host ports for one target mean "the first of them
    that is free"; no host ports mean "any that is free".

    Attributes:
        host_ip: The address of the node that answers; `ANY` for all of them; None for what the network says.
        shared: Whether other sandboxes may publish the same host port: connections are then spread over them all.
    """

    target: PortRange
    host: PortRange | None = None
    protocol: Protocol = Protocol.TCP
    host_ip: IPv4Address | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if self.host is None or len(self.host) == len(self.target) or len(self.target) == 1:
            return
        raise errors.Invalid(
            f"invalid ranges specified for container and host ports: {self.target} and {self.host}",
            reason="SPEC_INVALID",
        )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class HostPort:
    """A port of the node: what a reservation is about."""

    protocol: Protocol
    port: int
    host_ip: IPv4Address = ANY

    def overlaps(self, other: HostPort) -> bool:
        """Return whether a packet could be meant for both."""
        if self.protocol != other.protocol or self.port != other.port:
            return False
        return self.host_ip == other.host_ip or ANY in (self.host_ip, other.host_ip)

    def __str__(self) -> str:
        return f"{self.host_ip}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PortBinding:
    """One published port of one sandbox, decided."""

    host: HostPort
    target: int
    shared: bool = False
