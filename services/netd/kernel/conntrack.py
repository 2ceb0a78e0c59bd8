"""Forgetting flows: what connection tracking remembers of an address or port outlives the rules that made it.

TCP mends itself. A UDP client that keeps sending from one port would go on talking to an address that belongs to
nobody, or by now to somebody else. Rules are changed first, flows are forgotten afterwards.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from socket import AF_INET

from services.netd.kernel.netlink import NLM_F_DUMP, NetlinkError, Request, Socket, attribute, attributes
from services.netd.model.port import HostPort, Protocol

NETLINK_NETFILTER = 12

_GET, _DELETE = 0x0101, 0x0102  # subsystem conntrack, messages get and delete
_NESTED = 0x8000
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _FILTER = 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE = 1
_PROTO_NUMBER, _PROTO_DESTINATION_PORT = 1, 3
_FILTER_ORIGINAL_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_MATCH_IP_SOURCE, _MATCH_PROTO_NUMBER, _MATCH_DESTINATION_PORT = 1 << 0, 1 << 3, 1 << 5

_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
_FAMILY = struct.pack("=BBH", AF_INET, 0, 0)

_UNKNOWN_FILTER = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ERANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """Which flows: those whose tuple of that direction agrees in what is given."""

    direction: int
    source: bytes = b""
    protocol: int = 0
    destination_port: int = 0

    def request(self) -> Request:
        """Return the message that deletes them all at once; older kernels do not know it."""
        ip = _nest(_TUPLE_IP, attribute(_IP_SOURCE, self.source)) if self.source else b""
        proto = b""
        flags = _MATCH_IP_SOURCE if self.source else 0
        if self.protocol:
            port = struct.pack("!H", self.destination_port)
            number = attribute(_PROTO_NUMBER, bytes([self.protocol]))
            proto = _nest(_TUPLE_PROTO, number + attribute(_PROTO_DESTINATION_PORT, port))
            flags |= _MATCH_PROTO_NUMBER | _MATCH_DESTINATION_PORT
        original, reply = (flags, 0) if self.direction == _TUPLE_ORIGINAL else (0, flags)
        chosen = attribute(_FILTER_ORIGINAL_FLAGS, struct.pack("=I", original))
        chosen += attribute(_FILTER_REPLY_FLAGS, struct.pack("=I", reply))
        return Request(
            kind=_DELETE, flags=0, body=_FAMILY + _nest(self.direction, ip + proto) + _nest(_FILTER, chosen)
        )

    def fits(self, flow: dict[int, bytes]) -> bool:
        """Return whether a flow, by its attributes, is one of them."""
        parts = attributes(flow.get(self.direction, b""))
        ip, proto = attributes(parts.get(_TUPLE_IP, b"")), attributes(parts.get(_TUPLE_PROTO, b""))
        if self.source and ip.get(_IP_SOURCE) != self.source:
            return False
        if not self.protocol:
            return True
        port = struct.pack("!H", self.destination_port)
        return (
            proto.get(_PROTO_NUMBER) == bytes([self.protocol]) and proto.get(_PROTO_DESTINATION_PORT) == port
        )


def forget_address(socket: Socket, address: IPv4Address) -> None:
    """Forget the flows that lead to an address, published ports included, or come from it."""
    for direction in (_TUPLE_REPLY, _TUPLE_ORIGINAL):
        _forget(socket, _Match(direction=direction, source=address.packed))


def forget_ports(socket: Socket, ports: Sequence[HostPort]) -> None:
    """Forget flows that were begun towards UDP ports of the node: who keeps sending is sent by the new rules."""
    assert all(port.protocol is Protocol.UDP for port in ports), "connections mend themselves"
    for number in sorted({port.port for port in ports}):
        match = _Match(direction=_TUPLE_ORIGINAL, protocol=_NUMBERS[Protocol.UDP], destination_port=number)
        _forget(socket, match)


def _forget(socket: Socket, match: _Match) -> None:
    try:
        socket.call(match.request())
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # no such flow
            return
        if error.errno not in _UNKNOWN_FILTER:
            raise
        _forget_one_by_one(socket, match)


def _forget_one_by_one(socket: Socket, match: _Match) -> None:
    doomed = []
    for _, body in socket.ask(Request(kind=_GET, flags=NLM_F_DUMP, body=_FAMILY)):
        flow = attributes(body, len(_FAMILY))
        if match.fits(flow):
            name = _nest(_TUPLE_ORIGINAL, flow[_TUPLE_ORIGINAL]) + attribute(_ID, flow[_ID])
            doomed.append(Request(kind=_DELETE, flags=0, body=_FAMILY + name))
    for outcome in socket.execute(doomed):
        if outcome is not None and outcome.errno != errno.ENOENT:  # ended by itself meanwhile
            raise outcome


def _nest(kind: int, payload: bytes) -> bytes:
    return attribute(kind | _NESTED, payload)
