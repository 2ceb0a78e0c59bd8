"""One call: requests out, responses in, and how it ended. Made by `Channel.start`."""

from __future__ import annotations

import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from cli.transport import status
from cli.transport.http2 import STREAM_WINDOW_BYTES
from services.kit import errors

if TYPE_CHECKING:
    from google.protobuf.message import Message

Request = TypeVar("Request")
Response = TypeVar("Response")

MESSAGE_BYTES_MAX = 16 << 20
SEND_QUEUE_BYTES_MAX = 1 << 20
"""What may wait for the server before `send` waits too."""
RECEIVE_QUEUE_BYTES_MAX = STREAM_WINDOW_BYTES
"""Whole responses that may wait to be taken before the server has to stop."""
_PREFIX_BYTES = 5


class Wire(Protocol):
    """What a call needs of its channel."""

    peer: str

    def write(self, stream_id: int, *parts: bytes, end: bool) -> None:
        """Send on a stream."""

    def unsent(self, stream_id: int) -> int:
        """Return what waits to be sent on a stream."""

    def credit(self, stream_id: int, size: int) -> None:
        """Let the server send so much more on a stream."""

    def forget(self, stream_id: int, *, cancel: bool) -> None:
        """End a stream."""

    def pump(self, timeout_s: float | None) -> None:
        """Send and receive what is possible, waiting for at most `timeout_s` until something is."""


class Call(Generic[Request, Response]):
    """A call in progress.

    `result` is for one response, iteration for many; both wait. `take` does not wait: it is for those who wait for
    other things too, and let the channel `pump` when its socket is ready.

    Errors come as `errors.BeeyardError`, after the responses that came before them.
    """

    def __init__(self, wire: Wire, stream_id: int, response: type[Any], deadline: float | None) -> None:
        self._wire = wire
        self._stream_id = stream_id
        self._response = response
        self._deadline = deadline
        self._partial: deque[memoryview] = deque()
        self._partial_bytes = 0
        self._awaited_bytes: int | None = None
        """Of the message whose prefix has come."""
        self._messages: deque[bytes] = deque()
        self._queued_bytes = 0
        self._owed_bytes = 0
        self._headers: dict[str, str] = {}
        self._requests_end = False
        self.done = False
        """It has ended; there may be responses left to take."""
        self._error: errors.BeeyardError | None = None

    # --------------------------------------------------------------------------------------- requests

    def send(self, request: Request) -> None:
        """Send a request; waits while too much is on its way.

        Raises:
            errors.BeeyardError: The call has failed, so that nobody reads requests any more.
        """
        self.post(request)
        while self._wire.unsent(self._stream_id) > SEND_QUEUE_BYTES_MAX and not self.done:
            self._pump()
        if self.done and self._error is not None:
            raise self._error

    def post(self, request: Request, *, end: bool = False) -> None:
        """Send a request without waiting: for callers who watch `congested`."""
        message: Message = request  # type: ignore[assignment]
        data = message.SerializeToString()
        self._wire.write(self._stream_id, struct.pack(">BI", 0, len(data)), data, end=end)
        self._requests_end = end

    def end_requests(self) -> None:
        """Say that no request follows."""
        if not self._requests_end:
            self._requests_end = True
            self._wire.write(self._stream_id, end=True)

    @property
    def congested(self) -> bool:
        """Whether more is on its way to the server than should be."""
        return self._wire.unsent(self._stream_id) > SEND_QUEUE_BYTES_MAX

    # -------------------------------------------------------------------------------------- responses

    def result(self) -> Response:
        """Wait for the one response, and for the call's good end."""
        responses = list(self)
        if len(responses) != 1:
            raise errors.Internal(f"{self._wire.peer} answered with {len(responses)} messages instead of one")
        return responses[0]

    def __iter__(self) -> Call[Request, Response]:
        return self

    def __next__(self) -> Response:
        while (response := self.take()) is None:
            if self.done:
                raise StopIteration
            self._pump()
        return response

    def take(self) -> Response | None:
        """Return the next response that has arrived, None if there is none yet, or none any more (then `done`).

        Raises:
            errors.BeeyardError: The call has failed.
        """
        if self._messages:
            data = self._messages.popleft()
            self._queued_bytes -= len(data)
            self._settle()
            response: Response = self._response.FromString(data)
            return response
        if self.done and self._error is not None:
            raise self._error
        return None

    def cancel(self) -> None:
        """Give the call up; it ends now, without an error."""
        if not self.done:
            self._finish(None, cancel=True)

    def _pump(self) -> None:
        """Wait for something to happen, but not beyond the deadline."""
        if self._deadline is None:
            self._wire.pump(None)
            return
        left_s = self._deadline - time.monotonic()
        if left_s > 0:
            self._wire.pump(left_s)
        elif not self.done:
            late = errors.Unavailable(f"{self._wire.peer} did not answer in time", reason="DEADLINE_EXCEEDED")
            self._finish(late, cancel=True)

    # ------------------------------------------------------------------------------ for the channel

    def receive_headers(self, headers: list[tuple[str, str]], *, end: bool) -> None:
        """Take headers or trailers."""
        first = not self._headers
        received = dict(headers)
        self._headers.update(received)
        if end:
            error = status.error_of_trailers(self._headers, self._wire.peer)
            if error is None and (self._partial_bytes or self._awaited_bytes is not None):
                error = errors.Internal(f"an answer of {self._wire.peer} is cut off", reason="DATA_LOSS")
            self._finish(error, cancel=not self._requests_end)
        elif first and not received.get("content-type", "").startswith("application/grpc"):
            self._finish(status.error_of_http(received.get(":status", "")), cancel=True)

    def receive_data(self, data: memoryview, *, end: bool) -> None:
        """Take data."""
        self._owed_bytes += len(data)
        self._partial.append(data)
        self._partial_bytes += len(data)
        while not self.done:
            if self._awaited_bytes is None:
                if self._partial_bytes < _PREFIX_BYTES:
                    break
                compressed, length = struct.unpack(">BI", self._cut(_PREFIX_BYTES))
                if compressed or length > MESSAGE_BYTES_MAX:
                    what = "is compressed" if compressed else f"has {length} bytes"
                    self._finish(errors.Internal(f"an answer of {self._wire.peer} {what}"), cancel=True)
                    return
                self._awaited_bytes = length
            if self._partial_bytes < self._awaited_bytes:
                break
            self._messages.append(self._cut(self._awaited_bytes))
            self._queued_bytes += self._awaited_bytes
            self._awaited_bytes = None
        self._settle()
        if end and not self.done:
            lost = errors.Internal(f"{self._wire.peer} ended the call without a status", reason="UNKNOWN")
            self._finish(lost, cancel=not self._requests_end)

    def _cut(self, size: int) -> bytes:
        """Take so many bytes, which are there, from what was received."""
        self._partial_bytes -= size
        parts: list[memoryview] = []
        while size:
            part = self._partial.popleft()
            if len(part) > size:
                self._partial.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def fail(self, error: errors.BeeyardError) -> None:
        """End it with an error, because its stream or its connection is gone."""
        if not self.done:
            self._finish(error, cancel=False)

    def _settle(self) -> None:
        """Give the server room again, unless too much waits to be taken."""
        if self._owed_bytes and self._queued_bytes < RECEIVE_QUEUE_BYTES_MAX and not self.done:
            self._wire.credit(self._stream_id, self._owed_bytes)
            self._owed_bytes = 0

    def _finish(self, error: errors.BeeyardError | None, *, cancel: bool) -> None:
        self.done = True
        self._error = error
        self._wire.forget(self._stream_id, cancel=cancel)
