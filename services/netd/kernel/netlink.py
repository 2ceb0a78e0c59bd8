"""A netlink socket that is used synchronously: send requests, read the answers, nothing in between.

The kernel does the work of a request inside `send`, so there is nothing to wait for and no need of an event loop. A
netlink socket belongs for life to the network namespace of the thread that opened it; which thread uses it later does
not matter. (Library sockets that reopen themselves per thread do not have that property.)
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services.kit import errors

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=LHHLL")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_KIND = 0x3FFF  # without the flags for nested attributes and byte order
_ERROR = struct.Struct("=i")

_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933
_SIOCGIFFLAGS, _SIOCETHTOOL = 0x8913, 0x8946
_INDEX_QUESTION = struct.Struct("=16si20x")  # struct ifreq, in its various meanings
_FLAGS_QUESTION = struct.Struct("=16sH22x")
_POINTER_QUESTION = struct.Struct("@16sP16x")
_ETHTOOL_GLINK = 0x0A
_IFF_RUNNING = 0x40

_RECEIVE_BYTES = 1 << 18
_TIMEOUT_S = 10.0
_BATCH_MAX = 32
_DUMP_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message without its header."""

    kind: int
    flags: int
    body: bytes


class NetlinkError(OSError):
    """The kernel refused a request; `errno` as usual, the text is the kernel's own where it gives one."""


class Socket:
    """A netlink socket in the namespace of the thread that makes it. One thread at a time may use it."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back; it keeps its namespace alive until then."""
        self._socket.close()

    def index(self, link: str) -> int:
        """Return the index of a link of the socket's namespace, 0 if there is none of that name."""
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, _INDEX_QUESTION.pack(link.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0
            raise
        return int(_INDEX_QUESTION.unpack(answer)[1])

    def name(self, index: int) -> str:
        """Return the name of a link of the socket's namespace, empty if there is none of that index."""
        if index == 0:
            return ""
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFNAME, _INDEX_QUESTION.pack(b"", index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return ""
            raise
        return str(_INDEX_QUESTION.unpack(answer)[0].rstrip(b"\0").decode())

    def synchronize(self, link: str) -> None:
        """Make the kernel take notice of a link's carrier now; before Linux 6.7 this does nothing."""
        question = array.array("I", [_ETHTOOL_GLINK, 0])
        with contextlib.suppress(OSError):  # not a link that has one
            fcntl.ioctl(
                self._socket, _SIOCETHTOOL, _POINTER_QUESTION.pack(link.encode(), question.buffer_info()[0])
            )

    def running(self, link: str) -> bool:
        """Return whether packets can leave through a link."""
        answer = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, _FLAGS_QUESTION.pack(link.encode(), 0))
        return bool(_FLAGS_QUESTION.unpack(answer)[1] & _IFF_RUNNING)

    def execute(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        """Send `requests` in few datagrams; return for each, in order, how the kernel refused it or None.

        A refused request does not keep the kernel from working on the ones after it.
        """
        outcomes: list[NetlinkError | None] = []
        for start in range(0, len(requests), _BATCH_MAX):
            outcomes += self._execute_batch(requests[start : start + _BATCH_MAX])
        return outcomes

    def call(self, request: Request) -> None:
        """Send one request.

        Raises:
            NetlinkError: The kernel refused it.
        """
        (outcome,) = self.execute([request])
        if outcome is not None:
            raise outcome

    def ask(self, request: Request) -> list[tuple[int, bytes]]:
        """Send one request; return type and body of the messages that answer it.

        Raises:
            NetlinkError: The kernel refused it.
            errors.Unavailable: What was asked for kept changing.
        """
        for _ in range(_DUMP_ATTEMPTS_MAX):
            answers = self._ask_once(request)
            if answers is not None:
                return answers
        raise errors.Unavailable(
            "the kernel's tables change faster than they can be read", reason="KERNEL_BUSY"
        )

    def _execute_batch(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        first = self._sequence + 1
        self._sequence += len(requests)
        self._socket.send(
            b"".join(
                _packet(request, request.flags | NLM_F_REQUEST | NLM_F_ACK, first + offset)
                for offset, request in enumerate(requests)
            )
        )
        outcomes: dict[int, NetlinkError | None] = {}
        while len(outcomes) < len(requests):
            for kind, flags, sequence, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind == NLMSG_ERROR and first <= sequence <= self._sequence:
                    outcomes[sequence - first] = _outcome(flags, body)
        return [outcomes[offset] for offset in range(len(requests))]

    def _ask_once(self, request: Request) -> list[tuple[int, bytes]] | None:
        self._sequence += 1
        dump = request.flags & NLM_F_DUMP == NLM_F_DUMP
        flags = request.flags | NLM_F_REQUEST | (0 if dump else NLM_F_ACK)
        self._socket.send(_packet(request, flags, self._sequence))
        answers: list[tuple[int, bytes]] = []
        interrupted = False
        while True:
            for kind, flags, sequence, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue  # left over from a request that timed out
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_ERROR:
                    outcome = _outcome(flags, body)
                    if outcome is not None:
                        raise outcome
                    return answers
                if kind == NLMSG_DONE:
                    return None if interrupted else answers
                answers.append((kind, body))


def attribute(kind: int, payload: bytes) -> bytes:
    """Return a netlink attribute, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def attributes(payload: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes that begin at `offset`, by their kind without its flags; what is cut off is left out."""
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _KIND] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _packet(request: Request, flags: int, sequence: int) -> bytes:
    length = _HEADER.size + len(request.body)
    return _HEADER.pack(length, request.kind, flags, sequence, 0) + request.body + bytes(-length % 4)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence and body of each message of a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        assert _HEADER.size <= length <= len(datagram) - offset, (
            f"netlink message of {length} bytes at {offset}"
        )
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _outcome(flags: int, body: bytes) -> NetlinkError | None:
    (code,) = _ERROR.unpack_from(body)
    if code == 0:
        return None
    return NetlinkError(-code, _kernel_text(flags, body) or os.strerror(-code))


def _kernel_text(flags: int, body: bytes) -> str:
    """Return the extended acknowledgement's text: attributes behind the error and the header of the request."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    offset = _ERROR.size
    (echoed, *_rest) = _HEADER.unpack_from(body, offset)
    offset += _HEADER.size if flags & _NLM_F_CAPPED else (echoed + 3) & ~3
    return attributes(body, offset).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
