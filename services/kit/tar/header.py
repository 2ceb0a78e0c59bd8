"""The 512-byte header block of ustar and GNU tar."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import NamedTuple

from services.kit import errors
from services.kit.tar.entry import invalid

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)
SIZE_MAX = 1 << 62
_LAYOUT = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_CHECKSUM = slice(148, 156)
_GNU_MAGIC = b"ustar  \0"
_USTAR_MAGIC = b"ustar"


class RawHeader(NamedTuple):
    """The fields of a block, numbers decoded, names cut at their NUL."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime: int
    type_flag: bytes
    link_name: bytes
    device: tuple[int, int]


def parse(block: bytes) -> RawHeader:
    """Return the header in a block of 512 bytes.

    Raises:
        errors.Invalid: The checksum or a number is wrong: this is not a header.
    """
    (name, mode, uid, gid, size, mtime, checksum, type_flag, link, magic, _, _, major, minor, prefix, _) = (
        _LAYOUT.unpack(block)
    )
    _check(block, checksum)
    name = name.partition(b"\0")[0]
    if prefix[0] and magic[:5] == _USTAR_MAGIC and magic != _GNU_MAGIC:
        name = prefix.partition(b"\0")[0] + b"/" + name
    size_bytes = number(size, "size")
    if not 0 <= size_bytes <= SIZE_MAX:
        raise invalid(f"size {size_bytes} is out of range")
    is_device = type_flag in b"34"
    return RawHeader(
        name,
        number(mode, "mode") & 0o7777,
        number(uid, "uid"),
        number(gid, "gid"),
        size_bytes,
        number(mtime, "mtime"),
        type_flag,
        link.partition(b"\0")[0],
        (number(major, "device number"), number(minor, "device number")) if is_device else (0, 0),
    )


@functools.lru_cache(maxsize=4096)
def number(field: bytes, what: str) -> int:
    """Return a numeric field: octal digits, or GNU's base 256 when the top bit of the first byte is set.

    Cached, because an archive repeats few modes, owners and times.
    """
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False)
        bits = 8 * len(field) - 1
        value &= (1 << bits) - 1
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise invalid(f"the {what} field of a header is not a number")
    return int(digits, 8)


def render(
    *,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size_bytes: int,
    mtime: int,
    type_flag: bytes,
    link_name: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return a ustar header block; every value must fit (`writer` puts what does not into a pax header)."""
    block = bytearray(
        _LAYOUT.pack(
            name,
            _octal(mode, 8),
            _octal(uid, 8),
            _octal(gid, 8),
            _octal(size_bytes, 12),
            _octal(mtime, 12),
            b" " * 8,
            type_flag,
            link_name,
            b"ustar\00000",
            b"",
            b"",
            _octal(device[0], 8),
            _octal(device[1], 8),
            b"",
            b"",
        )
    )
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _check(block: bytes, checksum: bytes) -> None:
    """Compare the sum of all bytes, the checksum field counted as blanks, with what the field says.

    Adler-32 has that sum, plus one and modulo 65521, in its lower half: ten times quicker than adding in Python, and no
    weaker against damage, since the sum itself is a mere sum.
    """
    try:
        stated = number(checksum, "checksum")
    except errors.Invalid:
        stated = -1
    blanks = 8 * 32 - sum(checksum)
    if (zlib.adler32(block) & 0xFFFF) == (stated - blanks + 1) % 65521:
        return
    # Old tars added signed characters; they differ only where a byte is above 127.
    if sum(byte - 256 if byte > 127 else byte for byte in block) + blanks == stated:
        return
    raise invalid("a header's checksum is wrong: the file is damaged, or it is not a tar archive")


def _octal(value: int, width: int) -> bytes:
    digits = b"%0*o" % (width - 1, value)
    assert 0 <= value and len(digits) < width, f"{value} does not fit {width} bytes"
    return digits + b"\0"
