"""Links, addresses and routes: what rtnetlink says of them.

The only importer of pyroute2, of which just the message formats are used: its sockets fork a process for every other
namespace and silently reopen themselves per thread. What we tell the kernel is packed in `links`.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from services.netd.kernel.netlink import NLM_F_DUMP, Request, Socket, attribute

_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_IFLA_IFNAME, _IFLA_EXT_MASK = 3, 29
_IFF_UP = 1
_SKIP_STATISTICS = struct.pack("=I", 1 << 3)
_TABLE_MAIN = 254
_TYPE_UNICAST = 1
_HEADER_BYTES = 16

_LINK_QUESTION = bytes(16) + attribute(_IFLA_EXT_MASK, _SKIP_STATISTICS)
_ADDRESS_QUESTION = struct.pack("=B7x", AF_INET)
_ROUTE_QUESTION = struct.pack("=B11x", AF_INET)

_REMEMBERED_MAX = 2048
"""Answers of each kind: most of what is listed has not changed since the last time, and decoding is dear."""


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


def list_links(socket: Socket) -> list[LinkInfo]:
    """Return all links of the socket's namespace."""
    request = Request(kind=_RTM_GETLINK, flags=NLM_F_DUMP, body=_LINK_QUESTION)
    return [_link_info(body) for kind, body in socket.ask(request) if kind == _RTM_NEWLINK]


def get_links(socket: Socket, names: Sequence[str]) -> Iterator[LinkInfo]:
    """Yield those of `names` that exist: cheaper than a list where there are many links."""
    for name in names:
        question = _LINK_QUESTION + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        try:
            answers = socket.ask(Request(kind=_RTM_GETLINK, flags=0, body=question))
        except OSError:
            continue  # ENODEV: no such link
        yield from (_link_info(body) for kind, body in answers if kind == _RTM_NEWLINK)


def list_addresses(socket: Socket) -> list[tuple[int, IPv4Interface]]:
    """Return link index and address of all addresses of the socket's namespace."""
    found = []
    for kind, body in socket.ask(Request(kind=_RTM_GETADDR, flags=NLM_F_DUMP, body=_ADDRESS_QUESTION)):
        if kind == _RTM_NEWADDR:
            found.append(_address_info(body))
    return found


def list_routes(socket: Socket) -> list[RouteInfo]:
    """Return the unicast routes of the main table of the socket's namespace."""
    answers = socket.ask(Request(kind=_RTM_GETROUTE, flags=NLM_F_DUMP, body=_ROUTE_QUESTION))
    routes = [_route_info(body) for kind, body in answers if kind == _RTM_NEWROUTE]
    return [route for route in routes if route is not None]


@functools.lru_cache(maxsize=_REMEMBERED_MAX)
def _link_info(body: bytes) -> LinkInfo:
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


@functools.lru_cache(maxsize=_REMEMBERED_MAX)
def _address_info(body: bytes) -> tuple[int, IPv4Interface]:
    message = _decode(ifaddrmsg, body)
    local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return int(message["index"]), IPv4Interface(f"{local}/{message['prefixlen']}")


@functools.lru_cache(maxsize=_REMEMBERED_MAX)
def _route_info(body: bytes) -> RouteInfo | None:
    """Return a unicast route of the main table; None if it is another."""
    message = _decode(rtmsg, body)
    if message.get_attr("RTA_TABLE", message["table"]) != _TABLE_MAIN or message["type"] != _TYPE_UNICAST:
        return None
    destination = message.get_attr("RTA_DST") or "0.0.0.0"  # noqa: S104 (a destination, not a listener)
    gateway = message.get_attr("RTA_GATEWAY")
    return RouteInfo(
        destination=IPv4Network(f"{destination}/{message['dst_len']}"),
        gateway=IPv4Address(gateway) if gateway else None,
        link_index=int(message.get_attr("RTA_OIF") or 0),
        protocol=int(message["proto"]),
    )


def _decode(kind: Any, body: bytes) -> Any:
    length = _HEADER_BYTES + len(body)
    message = kind(
        length.to_bytes(_HEADER_BYTES, sys.byteorder) + body
    )  # a header of which only the length counts
    message.decode()
    return message
