"""The 512-byte header block of ustar and GNU tar."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from services.imaged.tar.entry import invalid

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)
SIZE_MAX = 1 << 62
_LAYOUT = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_CHECKSUM = slice(148, 156)
_GNU_MAGIC = b"ustar  \0"
_USTAR_MAGIC = b"ustar"


@dataclass(slots=True)
class RawHeader:
    """The fields of a block, numbers decoded, names cut at their NUL."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime: int
    type_flag: bytes
    link_name: bytes
    device_major: int
    device_minor: int
    is_gnu: bool


def parse(block: bytes) -> RawHeader:
    """Return the header in a block of 512 bytes.

    Raises:
        errors.Invalid: The checksum or a number is wrong: this is not a header.
    """
    (name, mode, uid, gid, size, mtime, checksum, type_flag, link, magic, _, _, major, minor, prefix, _) = (
        _LAYOUT.unpack(block)
    )
    _check(block, checksum)
    name = _text(name)
    is_gnu = magic == _GNU_MAGIC
    if magic.startswith(_USTAR_MAGIC) and not is_gnu and prefix[0]:
        name = _text(prefix) + b"/" + name
    size_bytes = number(size, "size")
    if not 0 <= size_bytes <= SIZE_MAX:
        raise invalid(f"size {size_bytes} is out of range")
    is_device = type_flag in b"34"
    return RawHeader(
        name=name,
        mode=number(mode, "mode") & 0o7777,
        uid=number(uid, "uid"),
        gid=number(gid, "gid"),
        size_bytes=size_bytes,
        mtime=number(mtime, "mtime"),
        type_flag=type_flag,
        link_name=_text(link),
        device_major=number(major, "device number") if is_device else 0,
        device_minor=number(minor, "device number") if is_device else 0,
        is_gnu=is_gnu,
    )


def number(field: bytes, what: str) -> int:
    """Return a numeric field: octal digits, or GNU's base 256 when the top bit of the first byte is set."""
    if field[0] < 0x80:
        try:
            return int(field.rstrip(b"\0 ") or b"0", 8)  # nearly every field there is
        except ValueError:
            pass
    else:
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
    stated = number(checksum, "checksum")
    blanks = 8 * 32 - sum(block[_CHECKSUM])
    if sum(block) + blanks == stated:
        return
    # Old tars added signed characters; they differ only where a byte is above 127.
    if sum(byte - 256 if byte > 127 else byte for byte in block) + blanks == stated:
        return
    raise invalid("a header's checksum is wrong: the file is damaged, or it is not a tar archive")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(value: int, width: int) -> bytes:
    digits = b"%0*o" % (width - 1, value)
    assert 0 <= value and len(digits) < width, f"{value} does not fit {width} bytes"
    return digits + b"\0"
