"""What the kernel looks like: as much of it as concerns us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from services.netd.firewall.table import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link, with its IPv4 addresses.

    Attributes:
        master: The bridge it is a port of; empty if none.
        ours: Whether it carries the mark of links that we made.
        hairpin: Whether, as a port, it sends back what it receives.
    """

    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    ours: bool = False
    master: str = ""
    hairpin: bool = False
    addresses: tuple[IPv4Interface, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRoute:
    """A default route; `ours` says whether we made it, or the sandbox itself."""

    gateway: IPv4Address | None
    interface: str
    ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenNamespace:
    """The inside of a sandbox's namespace."""

    links: Mapping[str, Link] = field(default_factory=dict)
    default_routes: tuple[DefaultRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The kernel, or the part of it that was looked at.

    Attributes:
        table: Our table; None if there is none.
        links: Of the node, by name.
        namespaces: By sandbox id; None if the namespace is there but cannot be entered.
        sysctls: Of the node: those that were asked for and exist.
        ipv6: Whether the kernel has IPv6 at all.
    """

    table: Seen | None
    links: Mapping[str, Link] = field(default_factory=dict)
    namespaces: Mapping[str, SeenNamespace | None] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ipv6: bool = True
