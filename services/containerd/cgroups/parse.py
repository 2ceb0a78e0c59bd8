"""The texts of control group files, both versions. Pure and total: what does not parse counts as nothing."""

from __future__ import annotations

_MEMORY_UNLIMITED = 1 << 60
"""v1 writes the largest page-aligned number where there is no limit."""


def number(text: str) -> int:
    """Return the one number of a file; "max" and nonsense are 0."""
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() else 0


def limit(text: str) -> int:
    """Return a limit in bytes, 0 for none."""
    value = number(text)
    return 0 if value >= _MEMORY_UNLIMITED else value


def flat(text: str) -> dict[str, int]:
    """Return the values of a flat-keyed file: `key 123` a line."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdecimal():
            values[key] = int(value)
    return values


def block_io_v1(text: str) -> tuple[int, int]:
    """Return bytes read and written from `blkio.throttle.io_service_bytes*`: `8:0 Read 123` a line and device."""
    totals = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in totals and fields[2].isdecimal():
            totals[fields[1]] += int(fields[2])
    return totals["Read"], totals["Write"]


def block_io_v2(text: str) -> tuple[int, int]:
    """Return bytes read and written from `io.stat`: `8:0 rbytes=1 wbytes=2 …` a line and device."""
    read = written = 0
    for line in text.splitlines():
        values = dict(field.partition("=")[::2] for field in line.split()[1:])
        read += number(values.get("rbytes", ""))
        written += number(values.get("wbytes", ""))
    return read, written


def network(text: str) -> tuple[int, int]:
    """Return bytes received and sent on all interfaces but the loopback, from /proc/PID/net/dev."""
    received = sent = 0
    for line in text.splitlines():
        name, separator, rest = line.partition(":")
        fields = rest.split()
        if separator and name.strip() != "lo" and len(fields) >= 9:
            received += number(fields[0])
            sent += number(fields[8])
    return received, sent


def system_ticks(text: str) -> int:
    """Return the processor time of the whole machine in clock ticks, from /proc/stat. Guest time is in user time."""
    first = text.partition("\n")[0].split()
    if not first or first[0] != "cpu":
        return 0
    return sum(number(field) for field in first[1:9])
