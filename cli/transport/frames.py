"""Frames of HTTP/2 (RFC 9113, section 4 and 6): numbers and layout, nothing that decides. Pure."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
PAYLOAD_BYTES_MAX = 16384
"""The largest payload that a receiver must accept unless it allows more; we allow no more."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

SETTING_ENABLE_PUSH = 2
SETTING_INITIAL_WINDOW_SIZE = 4
SETTING_MAX_FRAME_SIZE = 5

NO_ERROR = 0
REFUSED_STREAM = 7
CANCEL = 8
ENHANCE_YOUR_CALM = 11
INADEQUATE_SECURITY = 12

_ID_BITS = 0x7FFF_FFFF


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame."""
    return header(kind, flags, stream_id, len(payload)) + payload


def header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Return the header of a frame whose payload follows."""
    return struct.pack(">IBI", length << 8 | kind, flags, stream_id)


def parse_header(data: bytes | bytearray, position: int) -> tuple[int, int, int, int]:
    """Return the payload's length, the kind, the flags and the stream of the frame that begins at `position`."""
    word, flags, stream_id = struct.unpack_from(">IBI", data, position)
    return word >> 8, word & 0xFF, flags, stream_id & _ID_BITS


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(struct.pack(">HI", key, value) for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def window_update(stream_id: int, size: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", size))


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, struct.pack(">I", code))
