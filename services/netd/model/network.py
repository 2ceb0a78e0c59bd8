"""Networks: what sandboxes are attached to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from services.kit import errors

BRIDGE_NAME = "bridge"
HOST_NAME = "host"
NONE_NAME = "none"
PREDEFINED = (BRIDGE_NAME, HOST_NAME, NONE_NAME)

MTU_DEFAULT = 1500
MTU_MIN = 68
MTU_MAX = 65535
LABELS_BYTES_MAX = 64 * 1024

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_LINK_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,14}")


class Driver(StrEnum):
    """How a network is made. `null` is what the network `none` uses."""

    BRIDGE = "bridge"
    HOST = "host"
    NULL = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipam:
    """The addresses of a network: one subnet and what of it is handed out.

    Attributes:
        subnet: The whole of it.
        gateway: The node's own address in it; None if nothing routes out of the network.
        ip_range: Where addresses are chosen from when none is asked for; a part of `subnet`.
        reserved: Addresses that are in use by something outside, by name; never chosen.
    """

    subnet: IPv4Network
    gateway: IPv4Address
    ip_range: IPv4Network | None = None
    reserved: Mapping[str, IPv4Address] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What a user asks for. None means: choose.

    Attributes:
        driver_opts: Docker's option keys; `core.options` knows them.
    """

    name: str
    driver: str = Driver.BRIDGE
    internal: bool = False
    attachable: bool = False
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None
    ip_range: IPv4Network | None = None
    reserved: Mapping[str, IPv4Address] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    driver_opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that exists.

    Attributes:
        ipam: None for the drivers that have no addresses of their own.
        link: Name of the bridge interface; empty for drivers without one.
        masquerade: Whether what leaves the network carries the node's address.
        host_ip: Where ports are published that name no address of the node.
        request_id: Of the request that made it; empty if it cannot be repeated.
    """

    id: str
    name: str
    driver: Driver
    ipam: Ipam | None
    link: str
    mtu: int
    internal: bool
    attachable: bool
    masquerade: bool
    host_ip: IPv4Address
    labels: Mapping[str, str]
    driver_opts: Mapping[str, str]
    created_at: datetime
    request_id: str = ""

    @property
    def predefined(self) -> bool:
        """Whether it always exists and cannot be removed."""
        return self.name in PREDEFINED


def check_name(name: str) -> None:
    """Refuse a name that could be mistaken for something else.

    Raises:
        errors.Invalid: It is not a name.
    """
    if not _NAME.fullmatch(name):
        raise errors.Invalid(
            f"invalid network name {name!r}: use letters, digits, '_', '.', '-', and begin with a letter or digit",
            reason="SPEC_INVALID",
        )


def check_link_name(name: str) -> None:
    """Refuse what the kernel or nftables would not take as the name of an interface.

    Raises:
        errors.Invalid: It is not one.
    """
    if not _LINK_NAME.fullmatch(name):
        raise errors.Invalid(f"invalid interface name {name!r}", reason="SPEC_INVALID")
