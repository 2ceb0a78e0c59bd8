"""One HTTP/2 connection from the client's side, as far as gRPC uses it (RFC 9113). Sans-IO: bytes in, events out.

The owner sends what `take_output` returns after every call of another method, and gives `receive` what it reads. Data
that the peer's windows do not allow yet waits here (`unsent`), so that the owner can stop producing.

Receiving: a stream may have `STREAM_WINDOW_BYTES` outstanding. The owner gives that room back with `consumed`; the
window of the connection as a whole is kept open here, so that one stream that is not read holds up no other.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple, TypeAlias, TypeVar

from cli.transport import frames, hpack
from cli.transport.faults import ProtocolError

STREAM_WINDOW_BYTES = 1 << 20
CONNECTION_WINDOW_BYTES = 16 << 20
FRAME_BYTES_MAX = 256 << 10
"""What we take in one frame, 16 times of what we must: an archive has fewer of them to look at."""
HEADER_BLOCK_BYTES_MAX = 64 << 10
_INITIAL_WINDOW_BYTES = 65_535
_WINDOW_BYTES_MAX = (1 << 31) - 1
_STREAM_ID_MAX = (1 << 31) - 1


class HeadersReceived(NamedTuple):
    """A stream's headers, or its trailers."""

    stream_id: int
    headers: list[tuple[str, str]]
    end: bool


class DataReceived(NamedTuple):
    """Data of a stream. `consumed` is owed for all of it."""

    stream_id: int
    data: memoryview
    """Of what was received: copied once, into a whole message."""
    end: bool


class StreamReset(NamedTuple):
    """The peer gave a stream up."""

    stream_id: int
    code: int


class GoneAway(NamedTuple):
    """The peer takes no further streams; those after `last_stream_id` were not looked at."""

    last_stream_id: int
    code: int


P = TypeVar("P", bytes, memoryview)
Event: TypeAlias = HeadersReceived | DataReceived | StreamReset | GoneAway


class _Stream:
    """What is known of one open stream."""

    __slots__ = ("ends", "queue", "unsent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.queue: deque[memoryview] = deque()
        self.unsent = 0
        self.ends = False


class Connection:
    """The protocol's state. Not for more than one thread."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._window = _INITIAL_WINDOW_BYTES
        self._stream_window = _INITIAL_WINDOW_BYTES
        self._payload_max = frames.PAYLOAD_BYTES_MAX
        self._input = b""
        self._block: tuple[int, bool, bytearray] | None = None
        self._unacknowledged = 0
        ours = {
            frames.SETTING_ENABLE_PUSH: 0,
            frames.SETTING_INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            frames.SETTING_MAX_FRAME_SIZE: FRAME_BYTES_MAX,
        }
        grown = frames.window_update(0, CONNECTION_WINDOW_BYTES - _INITIAL_WINDOW_BYTES)
        self._output: list[bytes | memoryview] = [frames.PREFACE, frames.settings(ours), grown]

    # ------------------------------------------------------------------------------------------ sending

    def open_stream(self, block: bytes) -> int:
        """Begin a request with these encoded headers, and return its stream."""
        assert len(block) <= frames.PAYLOAD_BYTES_MAX, f"{len(block)} bytes of headers fit in no frame"
        assert self._next_id <= _STREAM_ID_MAX, "the connection has no stream left"
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream(self._stream_window)
        self._output.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block))
        return stream_id

    def send(self, stream_id: int, *parts: bytes, end: bool = False) -> None:
        """Send data on a stream, as far as the windows allow; the rest follows by itself. Closed streams take none."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ends:
            return
        for part in parts:
            if part:
                stream.queue.append(memoryview(part))
                stream.unsent += len(part)
        stream.ends = end
        self._advance(stream_id, stream)

    def unsent(self, stream_id: int) -> int:
        """Return how many bytes of a stream wait for the peer's window."""
        stream = self._streams.get(stream_id)
        return stream.unsent if stream is not None else 0

    def close(self, stream_id: int, *, cancel: bool) -> None:
        """Forget a stream; `cancel` tells the peer to stop working for it."""
        if self._streams.pop(stream_id, None) is not None and cancel:
            self._output.append(frames.rst_stream(stream_id, frames.CANCEL))

    def consumed(self, stream_id: int, size: int) -> None:
        """Let the peer send `size` more bytes on a stream."""
        if size and stream_id in self._streams:
            self._output.append(frames.window_update(stream_id, size))

    def take_output(self) -> bytes:
        """Return what is to be sent now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def _advance(self, stream_id: int, stream: _Stream) -> None:
        """Put into frames what the windows allow."""
        while stream.queue:
            room = min(self._window, stream.window, self._payload_max)
            if room <= 0:
                return
            part = stream.queue[0]
            piece, rest = part[:room], part[room:]
            if rest:
                stream.queue[0] = rest
            else:
                stream.queue.popleft()
            size = len(piece)
            stream.unsent -= size
            stream.window -= size
            self._window -= size
            last = stream.ends and not stream.queue
            header = frames.header(frames.DATA, frames.END_STREAM if last else 0, stream_id, size)
            self._output += (header, piece)
            if last:
                return
        if stream.ends:
            self._output.append(frames.frame(frames.DATA, frames.END_STREAM, stream_id, b""))

    # ---------------------------------------------------------------------------------------- receiving

    def receive(self, data: bytes) -> list[Event]:
        """Take what was read, and return what it means.

        Raises:
            ProtocolError: The peer breaks the protocol; the connection is dead.
        """
        if self._input:
            data = self._input + data
        view = memoryview(data)
        events: list[Event] = []
        position = 0
        while len(data) - position >= frames.HEADER_BYTES:
            length, kind, flags, stream_id = frames.parse_header(data, position)
            if length > FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {length} bytes")
            begin = position + frames.HEADER_BYTES
            if len(data) < begin + length:
                break
            payload = view[begin : begin + length]
            position = begin + length
            if kind == frames.DATA and self._block is None:
                self._take_data(flags, stream_id, payload, events)
            else:
                self._take_frame(kind, flags, stream_id, bytes(payload), events)
        self._input = data[position:]
        return events

    def _take_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ProtocolError("headers are interrupted by another frame")
        match kind:
            case frames.HEADERS:
                fragment = _unpadded(flags, payload)
                if flags & frames.HAS_PRIORITY:
                    fragment = fragment[5:]
                self._take_block(flags, stream_id, fragment, events, ends=bool(flags & frames.END_STREAM))
            case frames.CONTINUATION:
                if self._block is None or self._block[0] != stream_id:
                    raise ProtocolError("headers are continued that were not begun")
                self._take_block(flags, stream_id, payload, events, ends=self._block[1])
            case frames.SETTINGS:
                self._take_settings(flags, payload)
            case frames.WINDOW_UPDATE:
                self._take_window_update(stream_id, _number(payload))
            case frames.PING if not flags & frames.ACK:
                self._output.append(frames.frame(frames.PING, frames.ACK, 0, payload))
            case frames.RST_STREAM if self._streams.pop(stream_id, None) is not None:
                events.append(StreamReset(stream_id, _number(payload)))
            case frames.GOAWAY:
                events.append(GoneAway(_number(payload), _number(payload[4:])))
            case frames.PUSH_PROMISE:
                raise ProtocolError("the server pushes, which we did not allow")
            case _:
                pass  # PRIORITY, what we have forgotten already, and what later versions may add

    def _take_data(self, flags: int, stream_id: int, payload: memoryview, events: list[Event]) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged >= CONNECTION_WINDOW_BYTES // 4:
            self._output.append(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        data = _unpadded(flags, payload)
        if stream_id in self._streams:
            self.consumed(stream_id, len(payload) - len(data))
            events.append(DataReceived(stream_id, data, bool(flags & frames.END_STREAM)))

    def _take_block(
        self, flags: int, stream_id: int, fragment: bytes, events: list[Event], *, ends: bool
    ) -> None:
        block = self._block[2] if self._block is not None else bytearray()
        block += fragment
        if len(block) > HEADER_BLOCK_BYTES_MAX:
            raise ProtocolError(f"headers are larger than {HEADER_BLOCK_BYTES_MAX} bytes")
        if not flags & frames.END_HEADERS:
            self._block = (stream_id, ends, block)
            return
        self._block = None
        headers = self._decoder.decode(
            bytes(block)
        )  # also of a forgotten stream: the table must stay in step
        if stream_id in self._streams:
            events.append(HeadersReceived(stream_id, headers, ends))

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        if len(payload) % 6:
            raise ProtocolError("settings are cut off")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == frames.SETTING_INITIAL_WINDOW_SIZE:
                if value > _WINDOW_BYTES_MAX:
                    raise ProtocolError(f"a window of {value} bytes")
                grown, self._stream_window = value - self._stream_window, value
                for stream in self._streams.values():
                    stream.window += grown
            elif key == frames.SETTING_MAX_FRAME_SIZE:
                self._payload_max = max(value, frames.PAYLOAD_BYTES_MAX)
        self._output.append(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        self._advance_all()

    def _take_window_update(self, stream_id: int, size: int) -> None:
        if not stream_id:
            self._window += size
            self._advance_all()
        elif (stream := self._streams.get(stream_id)) is not None:
            stream.window += size
            if stream.queue:
                self._advance(stream_id, stream)

    def _advance_all(self) -> None:
        for stream_id, stream in self._streams.items():
            if stream.queue:
                self._advance(stream_id, stream)


def _unpadded(flags: int, payload: P) -> P:
    if not flags & frames.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("a frame is padded beyond its end")
    return payload[1 : len(payload) - payload[0]]


def _number(payload: bytes) -> int:
    if len(payload) < 4:
        raise ProtocolError("a frame is cut off")
    return int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
