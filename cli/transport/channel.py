"""A connection to one daemon or manager, and the calls on it. Blocking where it says so, one thread.

Nothing happens in the background: bytes move when somebody waits for a call, or calls `pump`.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

from cli.transport import hpack, status
from cli.transport.call import Call
from cli.transport.faults import ProtocolError
from cli.transport.http2 import (
    Connection,
    DataReceived,
    GoneAway,
    HeadersReceived,
    StreamReset,
)
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.transport.connect import Connected

READ_BYTES = 256 << 10
METADATA_BYTES_MAX = 8 << 10


class Channel:
    """Calls over one connection.

    Args:
        connected: A connected socket that does not block; the channel owns it.
        peer: Says in messages who is at the other end.
        scheme: http or https.
        metadata: Sent with every call.
    """

    def __init__(
        self, connected: Connected, *, peer: str, scheme: str, metadata: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._socket = connected
        self._scheme = scheme
        self._metadata = tuple(metadata)
        self._connection = Connection()
        self._output = memoryview(b"")
        self._calls: dict[int, Call[Any, Any]] = {}
        self.peer = peer
        self.usable = True
        """Whether new calls can begin on it."""

    # -------------------------------------------------------------------------------------------- calls

    def start(
        self, path: str, response: type[Any], request: Any = None, *, timeout_s: float | None = None
    ) -> Call[Any, Any]:
        """Begin a call.

        Args:
            path: "/package.Service/Method".
            response: Class of the responses.
            request: The only request; None leaves the call open for more.
            timeout_s: After this time the call fails, here and at the server; None waits without end.
        """
        assert self.usable, f"a call on a dead connection to {self.peer}"
        headers = [
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "swarmctl"),
            *self._metadata,
        ]
        deadline = None
        if timeout_s is not None:
            headers.append(("grpc-timeout", f"{max(1, round(timeout_s * 1000))}m"))
            deadline = time.monotonic() + timeout_s
        block = hpack.encode(headers)
        if len(block) > METADATA_BYTES_MAX:
            raise errors.Invalid(f"more than {METADATA_BYTES_MAX} bytes of options that go with every call")
        stream_id = self._connection.open_stream(block)
        call: Call[Any, Any] = Call(self, stream_id, response, deadline)
        self._calls[stream_id] = call
        if request is not None:
            call.post(request, end=True)
        self._flush()
        return call

    def write(self, stream_id: int, *parts: bytes, end: bool) -> None:
        """Send on a stream; for calls."""
        self._connection.send(stream_id, *parts, end=end)
        self._flush()

    def unsent(self, stream_id: int) -> int:
        """Return what waits to be sent on a stream, in our buffers; for calls."""
        return self._connection.unsent(stream_id) + len(self._output)

    def credit(self, stream_id: int, size: int) -> None:
        """Let the server send more on a stream; for calls."""
        self._connection.consumed(stream_id, size)
        self._flush()

    def forget(self, stream_id: int, *, cancel: bool) -> None:
        """End a stream; for calls."""
        self._calls.pop(stream_id, None)
        self._connection.close(stream_id, cancel=cancel)
        self._flush()

    # --------------------------------------------------------------------------------------------- bytes

    def fileno(self) -> int:
        """Return the socket to wait for: to be readable, and if `wants_to_write` also writable."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait for the socket to take them."""
        return bool(self._output)

    def pump(self, timeout_s: float | None = 0) -> None:
        """Move bytes both ways; waits for the socket for at most `timeout_s` (None: without end)."""
        if self._socket.fileno() < 0:
            return
        if timeout_s is None or timeout_s > 0:
            ready = select.poll()
            ready.register(self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._output else 0))
            ready.poll(None if timeout_s is None else max(1, round(timeout_s * 1000)))
        self._flush()
        try:
            while data := self._read():
                self._dispatch(data)
        except ProtocolError as exc:
            self._die(
                errors.Internal(f"{self.peer} does not speak the protocol: {exc}", reason="PROTOCOL_ERROR")
            )
        self._flush()

    def close(self) -> None:
        """Close the connection; calls in progress end."""
        self._die(errors.Unavailable(f"the connection to {self.peer} was closed", reason="CANCELLED"))

    def _read(self) -> bytes:
        """Return what has arrived, empty if there is nothing."""
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return b""
        except (OSError, ValueError) as exc:
            self._lost(str(exc))
            return b""
        if not data:
            self._lost("closed by the other side")
        return data

    def _flush(self) -> None:
        while self._socket.fileno() >= 0:
            if not self._output:
                self._output = memoryview(self._connection.take_output())
                if not self._output:
                    return
            try:
                sent = self._socket.send(self._output)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._lost(str(exc))
                return
            self._output = self._output[sent:]

    def _dispatch(self, data: bytes) -> None:
        for event in self._connection.receive(data):
            match event:
                case HeadersReceived(stream_id, headers, end) if stream_id in self._calls:
                    self._calls[stream_id].receive_headers(headers, end=end)
                case DataReceived(stream_id, content, end) if stream_id in self._calls:
                    self._calls[stream_id].receive_data(content, end=end)
                case StreamReset(stream_id, code) if stream_id in self._calls:
                    self._calls[stream_id].fail(status.error_of_reset(code))
                case GoneAway(last_stream_id):
                    self.usable = False
                    refused = errors.Unavailable(f"{self.peer} is shutting down", reason="SHUTTING_DOWN")
                    for stream_id, call in list(self._calls.items()):
                        if stream_id > last_stream_id:
                            call.fail(refused)
                case _:
                    pass  # of a call that has ended meanwhile

    def _lost(self, why: str) -> None:
        self._die(
            errors.Unavailable(f"the connection to {self.peer} was lost: {why}", reason="CONNECTION_LOST")
        )

    def _die(self, error: errors.BeeyardError) -> None:
        self.usable = False
        self._socket.close()
        for call in list(self._calls.values()):
            call.fail(error)
