r"""Pax extended headers: records of the form `LENGTH KEY=VALUE\n`, and what we read from their keys."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from services.kit.tar.entry import invalid

XATTR_PREFIX = "SCHILY.xattr."
XATTR_PREFIX_LIBARCHIVE = "LIBARCHIVE.xattr."
_NS_PER_S = 1_000_000_000
_TIME = re.compile(r"(-?)(\d{1,18})(?:\.(\d*))?")
_INTEGER = re.compile(r"-?\d{1,19}")

Records = list[tuple[str, bytes]]
"""In order, because GNU's sparse format 0.0 repeats keys."""


def parse(data: bytes) -> Records:
    """Return the records in the data of an extended header.

    Raises:
        errors.Invalid: A record's length does not fit.
    """
    records: Records = []
    position = 0
    while position < len(data) and data[position] != 0:
        blank = data.find(b" ", position, position + 20)
        digits = data[position:blank] if blank > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        end = position + length
        if length < len(digits) + 3 or end > len(data) or data[end - 1] != 0x0A:
            raise invalid("a pax record has a wrong length")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise invalid("a pax record has no key")
        records.append((key.decode("utf-8", "surrogateescape"), value))
        position = end
    return records


def render(records: Records) -> bytes:
    """Return the data of an extended header with these records."""
    out = bytearray()
    for key, value in records:
        body = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
        length = len(body)
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        out += b"%d" % length + body
    return bytes(out)


def integer(value: bytes, key: str) -> int:
    """Return the value of a record that holds an integer."""
    text = value.decode("ascii", "replace")
    if _INTEGER.fullmatch(text) is None:
        raise invalid(f"the pax record {key} is not a number")
    return int(text)


def time_ns(value: bytes, key: str) -> int:
    """Return the value of a record that holds seconds with a fraction, in nanoseconds."""
    match = _TIME.fullmatch(value.decode("ascii", "replace"))
    if match is None:
        raise invalid(f"the pax record {key} is not a time")
    sign, seconds, fraction = match.groups()
    magnitude = int(seconds) * _NS_PER_S + int((fraction or "").ljust(9, "0")[:9])
    return -magnitude if sign else magnitude


def render_time(time_ns: int) -> bytes:
    """Return seconds with a fraction, as the value of a record."""
    seconds, fraction_ns = divmod(abs(time_ns), _NS_PER_S)
    digits = f"{seconds}.{fraction_ns:09d}".rstrip("0").rstrip(".")
    return (f"-{digits}" if time_ns < 0 else digits).encode()


def xattr(key: str, value: bytes) -> tuple[str, bytes] | None:
    """Return name and value of the extended attribute that a record holds, or None if it holds none."""
    if key.startswith(XATTR_PREFIX):
        return key[len(XATTR_PREFIX) :], value
    if key.startswith(XATTR_PREFIX_LIBARCHIVE):
        name = unquote_to_bytes(key[len(XATTR_PREFIX_LIBARCHIVE) :]).decode("utf-8", "surrogateescape")
        try:
            return name, base64.b64decode(value + b"=" * (-len(value) % 4))
        except binascii.Error as error:
            raise invalid(f"the pax record {key[:100]!r} is not base64") from error
    return None
