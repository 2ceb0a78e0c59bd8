"""Endpoints: a sandbox's place in one network."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """What is asked for one network of a sandbox. None means: choose.

    Attributes:
        network: Name, id, or a prefix of an id that fits only one network.
        aliases: Further names of the sandbox in this network.
        gateway_priority: The default route leads through the network with the highest.
    """

    network: str
    ip: IPv4Address | None = None
    mac: str | None = None
    aliases: tuple[str, ...] = ()
    gateway_priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A sandbox's interface in a network.

    Attributes:
        id: Its own; it outlives restarts of netd, not those of the sandbox.
        interface: Its name inside the sandbox.
        host_link: The name of its other end on the node. New for every endpoint: the kernel takes links of a dropped
            namespace down in its own time, so a name derived from the sandbox would collide with its predecessor.
        gateway: Where packets to elsewhere go; None in internal networks.
    """

    id: str
    network_id: str
    address: IPv4Interface
    mac: str
    interface: str
    host_link: str
    gateway: IPv4Address | None
    gateway_priority: int = 0
    aliases: tuple[str, ...] = ()
