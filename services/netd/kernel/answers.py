"""Links, addresses and routes: what rtnetlink says of them.

Unpacked here rather than by a library: a dozen attributes matter, and decoding all of them costs ten times as much, at
every start of a container.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET

from services.netd.kernel.netlink import NLM_F_DUMP, Request, Socket, attribute, attributes

_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26

# linux/if_link.h, if_addr.h, rtnetlink.h
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_GROUP, _IFLA_EXT_MASK = 18, 27, 29
_INFO_KIND, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 4, 5
_BRPORT_MODE = 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_IFF_UP = 1
_SKIP_STATISTICS = struct.pack("=I", 1 << 3)
_TABLE_MAIN = 254
_TYPE_UNICAST = 1

_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of destination and source, tos, table, protocol, scope, type, flags
_NUMBER = struct.Struct("=I")

_LINK_QUESTION = bytes(16) + attribute(_IFLA_EXT_MASK, _SKIP_STATISTICS)
_ADDRESS_QUESTION = struct.pack("=B7x", AF_INET)
_ROUTE_QUESTION = struct.pack("=B11x", AF_INET)

_REMEMBERED_MAX = 2048
"""Answers of each kind: most of what is listed has not changed since the last time."""


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
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    is_port = _text(info.get(_INFO_SLAVE_KIND, b"")) == "bridge"
    port = attributes(info.get(_INFO_SLAVE_DATA, b"")) if is_port else {}
    return LinkInfo(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=_text(info.get(_INFO_KIND, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(_IFLA_MTU, b"")),
        up=bool(flags & _IFF_UP),
        group=_number(found.get(_IFLA_GROUP, b"")),
        master_index=_number(found.get(_IFLA_MASTER, b"")),
        hairpin=any(port.get(_BRPORT_MODE, b"")),
    )


@functools.lru_cache(maxsize=_REMEMBERED_MAX)
def _address_info(body: bytes) -> tuple[int, IPv4Interface]:
    _family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    local = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    return index, IPv4Interface((local, prefix))


@functools.lru_cache(maxsize=_REMEMBERED_MAX)
def _route_info(body: bytes) -> RouteInfo | None:
    """Return a unicast route of the main table; None if it is another."""
    _family, length, _source, _tos, table, protocol, _scope, kind, _flags = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    if (_number(found.get(_RTA_TABLE, b"")) or table) != _TABLE_MAIN or kind != _TYPE_UNICAST:
        return None
    gateway = found.get(_RTA_GATEWAY)
    return RouteInfo(
        destination=IPv4Network((found.get(_RTA_DST, bytes(4)), length)),
        gateway=IPv4Address(gateway) if gateway else None,
        link_index=_number(found.get(_RTA_OIF, b"")),
        protocol=protocol,
    )


def _number(payload: bytes) -> int:
    """Return the number of an attribute; 0 if there is none."""
    return int(_NUMBER.unpack(payload)[0]) if payload else 0


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode()
