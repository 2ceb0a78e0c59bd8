"""conmon's k8s-file format: one line of the file to a value. Pure.

    2026-11-24T02:26:48.505978071+00:00 stdout F text of the line

F ends a line; P is a part of one: a prompt, a read of 8 KiB, a split. Parts of a line are joined per stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

JOIN_BYTES_MAX = 1 << 20
"""A line that is longer comes in pieces."""
_NANOSECONDS_DIGITS = 9


class Stream(StrEnum):
    """Where a line was written to."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a log file."""

    time_ns: int
    """Since the epoch."""
    stream: Stream
    partial: bool
    data: bytes
    """Without the newline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as the container wrote it; the newline is part of it, unless it was never written."""

    time_ns: int
    stream: Stream
    data: bytes


def parse(raw: bytes) -> Entry | None:
    """Return the entry of a file's line (without its newline), None if it is damaged: the end of a torn write."""
    stamp, _, rest = raw.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, separator, data = rest.partition(b" ")
    if not separator or tag not in (b"F", b"P"):
        return None
    time_ns = parse_time(stamp)
    if time_ns is None or stream not in (b"stdout", b"stderr"):
        return None
    return Entry(time_ns=time_ns, stream=Stream(stream.decode()), partial=tag == b"P", data=data)


def parse_time(stamp: bytes) -> int | None:
    """Return nanoseconds since the epoch, None if it does not parse."""
    text = stamp.decode("ascii", errors="replace")
    seconds, _, fraction = text[:19], text[19:20], text[20:]
    zone_at = next((index for index, letter in enumerate(fraction) if letter in "+-Z"), len(fraction))
    digits, zone = fraction[:zone_at], fraction[zone_at:]
    if not digits.isdecimal():
        return None
    try:
        moment = datetime.fromisoformat(seconds + (zone if zone and zone != "Z" else "+00:00"))
    except ValueError:
        return None
    whole = (moment.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    return whole * 10**9 + int(digits[:_NANOSECONDS_DIGITS].ljust(_NANOSECONDS_DIGITS, "0"))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Joiner:
    """Joins the parts of lines. One per reading; streams are independent of each other."""

    def __init__(self) -> None:
        self._parts: dict[Stream, list[Entry]] = {}
        self._sizes: dict[Stream, int] = {}

    def add(self, entry: Entry) -> Line | None:
        """Return a whole line, or a piece of one that is too long; None while parts are missing."""
        parts = self._parts.setdefault(entry.stream, [])
        parts.append(entry)
        size = self._sizes.get(entry.stream, 0) + len(entry.data)
        self._sizes[entry.stream] = size
        if entry.partial and size < JOIN_BYTES_MAX:
            return None
        return self._take(entry.stream, newline=not entry.partial)

    def flush(self) -> list[Line]:
        """Return what was begun and not ended, oldest first: a prompt that waits for an answer."""
        lines = [self._take(stream, newline=False) for stream in list(self._parts) if self._parts[stream]]
        return sorted(lines, key=lambda line: line.time_ns)

    def _take(self, stream: Stream, *, newline: bool) -> Line:
        parts = self._parts.pop(stream)
        self._sizes.pop(stream, None)
        data = b"".join(part.data for part in parts)
        return Line(time_ns=parts[0].time_ns, stream=stream, data=data + b"\n" if newline else data)


class Parts(Joiner):
    """Joins nothing: what is written is what comes."""

    def add(self, entry: Entry) -> Line | None:
        """Return the part."""
        newline = b"" if entry.partial else b"\n"
        return Line(time_ns=entry.time_ns, stream=entry.stream, data=entry.data + newline)
