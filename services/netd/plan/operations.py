"""What the kernel can be told. Each operation is small, and knows which object it is for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeAlias

from services.netd.firewall.delta import Delta
from services.netd.firewall.table import Table
from services.netd.plan.desired import Attachment, Bridge, Namespace

NODE = ""
"""In place of a sandbox id: the node's own namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyTable:
    """Make the table anew, or change it: one transaction."""

    change: Table | Delta


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSysctl:
    """Set a kernel parameter of the node; `link` is the link of ours that it is about, if any."""

    name: str
    value: str
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNamespace:
    """Let go of a sandbox's namespace; the kernel takes down what is in it, in its own time."""

    sandbox_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveLink:
    """Delete a link; of a pair, both ends."""

    name: str
    sandbox_id: str = NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAddress:
    """Take an address from a link of the node."""

    link: str
    address: IPv4Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDefaultRoute:
    """Remove a default route of ours from a sandbox."""

    sandbox_id: str
    gateway: IPv4Address
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBridge:
    """Make a bridge, down."""

    bridge: Bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLink:
    """Mend the properties of a link of the node that is there."""

    name: str
    mac: str | None = None
    mtu: int | None = None
    adopt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNamespace:
    """Make a sandbox's namespace, its loopback up and its sysctls set."""

    namespace: Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePair:
    """Make the links between a bridge and a sandbox, both down."""

    sandbox_id: str
    attachment: Attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAddress:
    """Give a link an address."""

    link: str
    address: IPv4Interface
    sandbox_id: str = NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """Bring a link up."""

    link: str
    sandbox_id: str = NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDefaultRoute:
    """Give a sandbox its default route."""

    sandbox_id: str
    gateway: IPv4Address
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enslave:
    """Make a link of the node a port of a bridge."""

    link: str
    bridge: str
    sandbox_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivatePort:
    """Bring the node's end of a pair up, as a port that may send back what it receives; packets flow afterwards."""

    sandbox_id: str
    attachment: Attachment


Operation: TypeAlias = (
    ApplyTable
    | SetSysctl
    | RemoveNamespace
    | RemoveLink
    | RemoveAddress
    | RemoveDefaultRoute
    | CreateBridge
    | SetLink
    | CreateNamespace
    | CreatePair
    | AddAddress
    | SetUp
    | AddDefaultRoute
    | Enslave
    | ActivatePort
)


def subject(operation: Operation) -> str:
    """Return which object an operation is for.

    When an operation fails, those of the same subject that come later are pointless; all others still go on.
    """
    match operation:
        case ApplyTable():
            return "table"
        case SetSysctl(link=""):
            return f"sysctl {operation.name}"
        case SetSysctl(link=link):
            return f"link {link}"
        case CreateBridge(bridge=bridge):
            return f"link {bridge.link}"
        case SetLink(name=name):
            return f"link {name}"
        case RemoveAddress(link=link):
            return f"link {link}"
        case CreateNamespace(namespace=namespace):
            return f"sandbox {namespace.sandbox_id}"
        case AddAddress(sandbox_id="", link=link) | SetUp(sandbox_id="", link=link):
            return f"link {link}"
        case RemoveLink(sandbox_id="", name=name):
            return f"link {name}"
        case _:
            return f"sandbox {operation.sandbox_id}"
