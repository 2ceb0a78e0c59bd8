"""The form of a log file: a head, then frames, each with a checksum; and the judgement of a file that ends badly.

    file   magic 8 | key id 8 | salt 24 | sequence number 8
    frame  length 4 | crc32 4 | synced to 8 | sealed record | zeros up to a multiple of 8

`synced to` says up to which offset the file was durable when the frame was written. That is what tells a
torn tail from damage: the frames of a write that was not yet synced may be torn, lost or out of order after
a crash, and nothing was promised on their strength, so they are cut off. But where a later frame, or a
later file, says that an offset was durable, a bad frame there is lost data that others may rely on, and
must not be passed over in silence.

What stays undecidable is damage to the very last synced write when nothing follows it. A log that is closed
in order therefore ends with a frame that vouches for it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from services.swarmd.raft.shell.sealing import KEY_ID_BYTES, SALT_BYTES

MAGIC: Final = b"BYRAFT\x00\x01"
_HEAD: Final = struct.Struct(f"<8s{KEY_ID_BYTES}s{SALT_BYTES}sQ")
_FRAME: Final = struct.Struct("<IIQ")
_CHECKED: Final = struct.Struct("<IQ")
_ALIGN: Final = 8
HEAD_BYTES: Final = _HEAD.size
RECORD_BYTES_MAX: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """How a log file begins."""

    key_id: bytes
    salt: bytes
    sequence: int

    def encode(self) -> bytes:
        """Return the bytes of the head."""
        return _HEAD.pack(MAGIC, self.key_id, self.salt, self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame whose checksum holds."""

    offset: int
    synced_to: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a log file holds: frames without a gap up to `end`, and whether anything is wrong there."""

    head: FileHead | None
    """None if the file does not even begin right."""
    frames: tuple[Frame, ...]
    end: int
    clean: bool
    """Whether the file ends at `end`."""
    vouched_to: int
    """Up to which offset some good frame in the file says that it was durable, those beyond a bad one included."""

    @property
    def torn(self) -> bool:
        """Whether the file goes on after `end`, but with nothing that was ever durable."""
        return not self.clean and self.vouched_to <= self.end


def encode(sealed: bytes, *, synced_to: int) -> bytes:
    """Return the frame around a sealed record."""
    crc = zlib.crc32(sealed, zlib.crc32(_CHECKED.pack(len(sealed), synced_to)))
    padding = -(_FRAME.size + len(sealed)) % _ALIGN
    return b"".join((_FRAME.pack(len(sealed), crc, synced_to), sealed, bytes(padding)))


def scan(data: bytes) -> Scan:
    """Read a log file as far as it is good, and look beyond for frames that vouch for what is not."""
    head = _head(data)
    if head is None:
        vouched_to = _vouched_beyond(data, 0)
        return Scan(head=None, frames=(), end=0, clean=False, vouched_to=vouched_to)
    frames: list[Frame] = []
    offset = HEAD_BYTES
    while (frame := _frame_at(data, offset)) is not None:
        frames.append(frame)
        offset = _end_of(frame)
    clean = offset == len(data)
    vouched_to = max((frame.synced_to for frame in frames), default=0)
    if not clean:
        vouched_to = max(vouched_to, _vouched_beyond(data, offset))
    return Scan(head=head, frames=tuple(frames), end=offset, clean=clean, vouched_to=vouched_to)


def _head(data: bytes) -> FileHead | None:
    if len(data) < HEAD_BYTES:
        return None
    magic, key_id, salt, sequence = _HEAD.unpack_from(data)
    return FileHead(key_id=key_id, salt=salt, sequence=sequence) if magic == MAGIC else None


def _frame_at(data: bytes, offset: int) -> Frame | None:
    start = offset + _FRAME.size
    if start > len(data):
        return None
    length, crc, synced_to = _FRAME.unpack_from(data, offset)
    if not 0 < length <= min(RECORD_BYTES_MAX, len(data) - start):
        return None
    sealed = data[start : start + length]
    if zlib.crc32(sealed, zlib.crc32(_CHECKED.pack(length, synced_to))) != crc or synced_to > offset:
        return None
    frame = Frame(offset=offset, synced_to=synced_to, sealed=sealed)
    end = _end_of(frame)
    return frame if end <= len(data) and not any(data[start + length : end]) else None


def _end_of(frame: Frame) -> int:
    end = frame.offset + _FRAME.size + len(frame.sealed)
    return end + -end % _ALIGN


def _vouched_beyond(data: bytes, offset: int) -> int:
    """Return the highest `synced_to` of the good frames that begin anywhere after `offset`."""
    vouched_to = 0
    for at in range(offset + _ALIGN - offset % _ALIGN, len(data) - _FRAME.size, _ALIGN):
        frame = _frame_at(data, at)
        if frame is not None:
            vouched_to = max(vouched_to, frame.synced_to)
    return vouched_to
