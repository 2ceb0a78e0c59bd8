"""Links, addresses and routes: what is said to rtnetlink, and what it says.

The only importer of pyroute2, of which just the message formats are used: its sockets fork a process for every other
namespace and silently reopen themselves per thread.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET, AF_UNSPEC
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from services.netd.kernel.netlink import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Request, Socket

GROUP = 3054
"""The link group that marks our links, on the node and in sandboxes; the message that makes them gives it."""

ROUTE_PROTOCOL = 190
"""Marks our routes inside sandboxes: a number that no routing daemon has."""

NETLINK_ROUTE = 0

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_IFF_UP = 1
_SKIP_STATISTICS = 1 << 3
_TABLE_MAIN = 254
_TYPE_UNICAST = 1
_LOOPBACK_INDEX = 1
_HEADER_BYTES = 16
_LINKS_REMEMBERED_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkInfo:
    """A link as the kernel shows it; `master_index` is 0 without a master, `hairpin` False off a bridge."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    group: int
    master_index: int
    hairpin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteInfo:
    """A route of the main table; `link_index` is 0 if it has several or none."""

    destination: IPv4Network
    gateway: IPv4Address | None
    link_index: int
    protocol: int


def create_bridge(name: str, *, mac: str, mtu: int) -> Request:
    """Make a bridge, down, of our group, without spanning tree."""
    settings = [("IFLA_BR_STP_STATE", 0), ("IFLA_BR_FORWARD_DELAY", 0)]
    return _link(
        NLM_F_CREATE | NLM_F_EXCL,
        name=name,
        attributes=[
            ("IFLA_ADDRESS", mac),
            ("IFLA_MTU", mtu),
            ("IFLA_GROUP", GROUP),
            (
                "IFLA_LINKINFO",
                {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": settings})]},
            ),
        ],
    )


def create_veth(
    name: str, *, master_index: int, mtu: int, peer: str, peer_mac: str, peer_namespace_fd: int
) -> Request:
    """Make a pair, both ends down: `name` here as a port of a bridge, `peer` in the other namespace.

    The end here goes up last, by `activate_port`: a port that is up before its other end loses the first packets.
    """
    peer_attributes = [
        ("IFLA_IFNAME", peer),
        ("IFLA_ADDRESS", peer_mac),
        ("IFLA_MTU", mtu),
        ("IFLA_GROUP", GROUP),
        ("IFLA_NET_NS_FD", peer_namespace_fd),
    ]
    data = {"attrs": [("VETH_INFO_PEER", {"attrs": peer_attributes})]}
    return _link(
        NLM_F_CREATE | NLM_F_EXCL,
        name=name,
        attributes=[
            ("IFLA_MTU", mtu),
            ("IFLA_MASTER", master_index),
            ("IFLA_GROUP", GROUP),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}),
        ],
    )


def activate_port(name: str) -> Request:
    """Bring a bridge port up, with hairpin on: a sandbox may reach itself through a published port."""
    slave = [
        ("IFLA_INFO_SLAVE_KIND", "bridge"),
        ("IFLA_INFO_SLAVE_DATA", {"attrs": [("IFLA_BRPORT_MODE", 1)]}),
    ]
    return _link(0, name=name, up=True, attributes=[("IFLA_LINKINFO", {"attrs": slave})])


def set_master(name: str, *, master_index: int) -> Request:
    """Make a link a port of a bridge."""
    return _link(0, name=name, attributes=[("IFLA_MASTER", master_index)])


def set_up(name: str) -> Request:
    """Bring a link up."""
    return _link(0, name=name, up=True)


def set_loopback_up() -> Request:
    """Bring the loopback interface of a namespace up."""
    return _link(0, index=_LOOPBACK_INDEX, up=True)


def set_properties(
    name: str, *, mac: str | None = None, mtu: int | None = None, group: int | None = None
) -> Request:
    """Change what is given."""
    wanted = (("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu), ("IFLA_GROUP", group))
    return _link(0, name=name, attributes=[(key, value) for key, value in wanted if value is not None])


def delete_link(name: str) -> Request:
    """Delete a link; of a pair, both ends. The kernel may take some 30 ms for it."""
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name)]
    return Request(kind=_RTM_DELLINK, flags=0, body=_encode(message))


def add_address(address: IPv4Interface, *, index: int) -> Request:
    """Give a link an address; one that it has already is fine."""
    return Request(kind=_RTM_NEWADDR, flags=NLM_F_CREATE | NLM_F_REPLACE, body=_address(address, index))


def remove_address(address: IPv4Interface, *, index: int) -> Request:
    """Take an address from a link."""
    return Request(kind=_RTM_DELADDR, flags=0, body=_address(address, index))


def add_default_route(gateway: IPv4Address, *, index: int) -> Request:
    """Add our default route."""
    message = _default_route(gateway, index)
    message["scope"], message["type"] = 0, _TYPE_UNICAST
    return Request(kind=_RTM_NEWROUTE, flags=NLM_F_CREATE | NLM_F_EXCL, body=_encode(message))


def remove_default_route(gateway: IPv4Address, *, index: int) -> Request:
    """Remove our default route."""
    message = _default_route(gateway, index)
    message["scope"] = 255  # any
    return Request(kind=_RTM_DELROUTE, flags=0, body=_encode(message))


def list_links(socket: Socket) -> list[LinkInfo]:
    """Return all links of the socket's namespace."""
    message = ifinfmsg()
    message["attrs"] = [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
    request = Request(kind=_RTM_GETLINK, flags=NLM_F_DUMP, body=_encode(message))
    return [_link_info(body) for kind, body in socket.ask(request) if kind == _RTM_NEWLINK]


def get_links(socket: Socket, names: Sequence[str]) -> Iterator[LinkInfo]:
    """Yield those of `names` that exist: cheaper than a list where there are many links."""
    for name in names:
        message = ifinfmsg()
        message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_EXT_MASK", _SKIP_STATISTICS)]
        try:
            answers = socket.ask(Request(kind=_RTM_GETLINK, flags=0, body=_encode(message)))
        except OSError:
            continue  # ENODEV: no such link
        yield from (_link_info(body) for kind, body in answers if kind == _RTM_NEWLINK)


def list_addresses(socket: Socket) -> list[tuple[int, IPv4Interface]]:
    """Return link index and address of all addresses of the socket's namespace."""
    message = ifaddrmsg()
    message["family"] = AF_INET
    found = []
    for kind, body in socket.ask(Request(kind=_RTM_GETADDR, flags=NLM_F_DUMP, body=_encode(message))):
        if kind == _RTM_NEWADDR:
            answer = _decode(ifaddrmsg, body)
            local = answer.get_attr("IFA_LOCAL") or answer.get_attr("IFA_ADDRESS")
            found.append((int(answer["index"]), IPv4Interface(f"{local}/{answer['prefixlen']}")))
    return found


def list_routes(socket: Socket) -> list[RouteInfo]:
    """Return the unicast routes of the main table of the socket's namespace."""
    message = rtmsg()
    message["family"] = AF_INET
    found = []
    for kind, body in socket.ask(Request(kind=_RTM_GETROUTE, flags=NLM_F_DUMP, body=_encode(message))):
        if kind != _RTM_NEWROUTE:
            continue
        answer = _decode(rtmsg, body)
        if answer.get_attr("RTA_TABLE", answer["table"]) != _TABLE_MAIN or answer["type"] != _TYPE_UNICAST:
            continue
        destination = answer.get_attr("RTA_DST") or "0.0.0.0"  # noqa: S104 (a destination, not a listener)
        gateway = answer.get_attr("RTA_GATEWAY")
        found.append(
            RouteInfo(
                destination=IPv4Network(f"{destination}/{answer['dst_len']}"),
                gateway=IPv4Address(gateway) if gateway else None,
                link_index=int(answer.get_attr("RTA_OIF") or 0),
                protocol=int(answer["proto"]),
            )
        )
    return found


def _link(
    flags: int,
    *,
    index: int = 0,
    name: str = "",
    up: bool = False,
    attributes: list[tuple[str, Any]] | None = None,
) -> Request:
    message = ifinfmsg()
    message["family"] = AF_UNSPEC
    message["index"] = index
    if up:
        message["flags"] = message["change"] = _IFF_UP
    message["attrs"] = ([("IFLA_IFNAME", name)] if name else []) + (attributes or [])
    return Request(kind=_RTM_NEWLINK, flags=flags, body=_encode(message))


def _address(address: IPv4Interface, index: int) -> bytes:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = AF_INET, address.network.prefixlen, index
    message["attrs"] = [
        ("IFA_LOCAL", str(address.ip)),
        ("IFA_ADDRESS", str(address.ip)),
        ("IFA_BROADCAST", str(address.network.broadcast_address)),
    ]
    return _encode(message)


def _default_route(gateway: IPv4Address, index: int) -> Any:
    message = rtmsg()
    message["family"], message["table"], message["proto"] = AF_INET, _TABLE_MAIN, ROUTE_PROTOCOL
    message["attrs"] = [("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    return message


@functools.lru_cache(maxsize=_LINKS_REMEMBERED_MAX)
def _link_info(body: bytes) -> LinkInfo:
    """Return what a message says; remembered, since most links have not changed when they are listed again."""
    message = _decode(ifinfmsg, body)
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    port = (
        info.get_attr("IFLA_INFO_SLAVE_DATA")
        if info and info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
        else None
    )
    return LinkInfo(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=str(kind or ""),
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        up=bool(message["flags"] & _IFF_UP),
        group=int(message.get_attr("IFLA_GROUP") or 0),
        master_index=int(message.get_attr("IFLA_MASTER") or 0),
        hairpin=bool(port.get_attr("IFLA_BRPORT_MODE")) if port else False,
    )


def _encode(message: Any) -> bytes:
    """Return the body of a message: the library puts a netlink header in front, the socket its own."""
    message.encode()
    return bytes(message.data[_HEADER_BYTES:])


def _decode(kind: Any, body: bytes) -> Any:
    length = _HEADER_BYTES + len(body)
    message = kind(
        length.to_bytes(_HEADER_BYTES, sys.byteorder) + body
    )  # a header of which only the length counts
    message.decode()
    return message
