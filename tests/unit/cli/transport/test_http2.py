"""The connection without a socket: windows, order, limits, and any bytes at all."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.transport import frames, hpack, http2
from cli.transport.faults import ProtocolError
from cli.transport.http2 import Connection, DataReceived, GoneAway, HeadersReceived, StreamReset

BLOCK = hpack.encode([(":status", "200")])


def sent(connection: Connection) -> list[tuple[int, int, int, bytes]]:
    """Return the frames that the connection wants to send: kind, flags, stream, payload."""
    data = connection.take_output().removeprefix(frames.PREFACE)
    found, position = [], 0
    while position < len(data):
        length, kind, flags, stream_id = frames.parse_header(data, position)
        found.append((kind, flags, stream_id, data[position + 9 : position + 9 + length]))
        position += 9 + length
    return found


def opened() -> tuple[Connection, int]:
    connection = Connection()
    stream_id = connection.open_stream(b"")
    connection.take_output()
    return connection, stream_id


def test_begins_with_preface_settings_and_a_wide_window() -> None:
    connection = Connection()
    assert connection.take_output().startswith(frames.PREFACE)
    assert connection.take_output() == b""


def test_data_waits_for_the_windows() -> None:
    connection, stream_id = opened()
    connection.send(stream_id, bytes(100_000), end=True)
    data = [frame for frame in sent(connection) if frame[0] == frames.DATA]
    assert sum(len(frame[3]) for frame in data) == 65_535
    assert all(len(frame[3]) <= frames.PAYLOAD_BYTES_MAX and not frame[1] for frame in data)
    assert connection.unsent(stream_id) == 100_000 - 65_535
    connection.receive(frames.window_update(stream_id, 50_000))
    assert not sent(connection), "the connection's window is still closed"
    connection.receive(frames.window_update(0, 50_000))
    rest = sent(connection)
    assert sum(len(frame[3]) for frame in rest) == 100_000 - 65_535
    assert rest[-1][1] == frames.END_STREAM
    assert connection.unsent(stream_id) == 0


def test_settings_change_the_windows_of_open_streams() -> None:
    connection, stream_id = opened()
    connection.send(stream_id, bytes(65_535))
    connection.take_output()
    connection.receive(
        frames.settings(
            {frames.SETTING_INITIAL_WINDOW_SIZE: 65_536, frames.SETTING_MAX_FRAME_SIZE: 1 << 20, 99: 7}
        )
    )
    assert sent(connection) == [(frames.SETTINGS, frames.ACK, 0, b"")]
    connection.receive(frames.window_update(0, 10))
    connection.send(stream_id, b"ab", end=True)
    assert [frame[3] for frame in sent(connection)] == [b"a"]


def test_an_end_without_data_is_an_empty_frame() -> None:
    connection, stream_id = opened()
    connection.send(stream_id, b"x")
    connection.send(stream_id, end=True)
    assert [frame[1:] for frame in sent(connection)] == [
        (0, stream_id, b"x"),
        (frames.END_STREAM, stream_id, b""),
    ]
    connection.send(stream_id, b"too late")
    assert not sent(connection)


def test_receives_headers_data_and_trailers_however_they_are_cut() -> None:
    whole = (
        frames.frame(frames.HEADERS, 0, 1, BLOCK[:0])
        + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, BLOCK)
        + frames.frame(frames.DATA, frames.PADDED, 1, b"\x02data\0\0")
        + frames.frame(
            frames.HEADERS,
            frames.END_HEADERS | frames.END_STREAM | frames.HAS_PRIORITY,
            1,
            bytes(5) + hpack.encode([("grpc-status", "0")]),
        )
    )
    for size in (1, 7, len(whole)):
        connection, _ = opened()
        events = [
            event
            for begin in range(0, len(whole), size)
            for event in connection.receive(whole[begin : begin + size])
        ]
        assert events == [
            HeadersReceived(1, [(":status", "200")], False),
            DataReceived(1, b"data", False),
            HeadersReceived(1, [("grpc-status", "0")], True),
        ]


def test_gives_room_back_for_padding_and_what_was_consumed() -> None:
    connection, stream_id = opened()
    connection.receive(frames.frame(frames.DATA, frames.PADDED, stream_id, b"\x02data\0\0"))
    connection.consumed(stream_id, 4)
    updates = [frame for frame in sent(connection) if frame[0] == frames.WINDOW_UPDATE]
    assert [struct.unpack(">I", frame[3])[0] for frame in updates] == [3, 4]


def test_the_connection_s_window_stays_open_whoever_reads() -> None:
    connection, stream_id = opened()
    for _ in range(http2.CONNECTION_WINDOW_BYTES // 4 // frames.PAYLOAD_BYTES_MAX):
        connection.receive(frames.frame(frames.DATA, 0, stream_id, bytes(frames.PAYLOAD_BYTES_MAX)))
    assert (frames.WINDOW_UPDATE, 0, 0) in [frame[:3] for frame in sent(connection)]


def test_answers_pings_only_once() -> None:
    connection, _ = opened()
    connection.receive(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert sent(connection) == [(frames.PING, frames.ACK, 0, b"12345678")]
    connection.receive(frames.frame(frames.PING, frames.ACK, 0, b"12345678"))
    assert not sent(connection)


def test_tells_of_resets_and_of_the_end() -> None:
    connection, stream_id = opened()
    goodbye = frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", 7, 2) + b"bye")
    assert connection.receive(frames.rst_stream(stream_id, 8) + goodbye) == [
        StreamReset(stream_id, 8),
        GoneAway(7, 2),
    ]
    assert connection.receive(frames.rst_stream(stream_id, 8)) == []


def test_a_stream_that_was_given_up_is_silent_and_keeps_the_table_in_step() -> None:
    connection, first = opened()
    second = connection.open_stream(b"")
    connection.close(first, cancel=True)
    assert (frames.RST_STREAM, 0, first, struct.pack(">I", frames.CANCEL)) in sent(connection)
    remembered = b"\x40\x01k\x01v"
    end = frames.END_HEADERS
    events = connection.receive(
        frames.frame(frames.HEADERS, end, first, remembered)
        + frames.frame(frames.DATA, 0, first, b"late")
        + frames.frame(frames.HEADERS, end, second, b"\xbe")
    )
    assert events == [HeadersReceived(second, [("k", "v")], False)]


@pytest.mark.parametrize(
    "data",
    [
        frames.header(frames.DATA, 0, 1, http2.FRAME_BYTES_MAX + 1),
        frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.DATA, 0, 1, b""),
        frames.frame(frames.CONTINUATION, 0, 1, b""),
        frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)),
        frames.frame(frames.SETTINGS, 0, 0, b"12345"),
        frames.settings({frames.SETTING_INITIAL_WINDOW_SIZE: 1 << 31}),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x05abc"),
        frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\0"),
        frames.frame(frames.HEADERS, 0, 1, bytes(16_000))
        + frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 4,
    ],
)
def test_refuses_what_breaks_the_protocol(data: bytes) -> None:
    connection, _ = opened()
    with pytest.raises(ProtocolError):
        connection.receive(data)


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=40)))
)
def test_any_frames_give_events_or_an_error(received: list[tuple[int, int, int, bytes]]) -> None:
    connection, _ = opened()
    with contextlib.suppress(ProtocolError):
        for kind, flags, stream_id, payload in received:
            connection.receive(frames.frame(kind, flags, stream_id, payload))
    connection.take_output()
