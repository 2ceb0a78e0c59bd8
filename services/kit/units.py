"""Sizes and durations as people write and read them. Pure; imports nothing of weight.

Sizes and durations are accepted and rendered as the Docker command line does, so that flags, files and output written
for it keep their meaning.
"""

from __future__ import annotations

import re

from services.kit import errors

_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_BINARY_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")  # both letters mu
_NS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_INT64_MAX = (1 << 63) - 1
_TEXT_LENGTH_MAX = 64


def parse_bytes(text: str) -> int:
    """Return the bytes that `text` means: "512m", "1.5GiB", "64 KB", "1024". Units are powers of 1024.

    Raises:
        errors.Invalid: Not a size, negative, or beyond 64 bits.
    """
    match = _SIZE.fullmatch(text.strip()) if len(text) <= _TEXT_LENGTH_MAX else None
    if match is None:
        raise errors.Invalid(
            f"invalid size {_shown(text)}: give a number with an optional unit b, k, m, g, t or p, such as 512m",
            reason="INVALID_SIZE",
        )
    whole, fraction, unit = match[1], match[2] or "", match[3].lower()
    factor = _BINARY_FACTORS[unit]
    size_bytes: int = int(whole) * factor + int(fraction or "0") * factor // 10 ** len(fraction)
    if size_bytes > _INT64_MAX:
        raise errors.Invalid(
            f"invalid size {_shown(text)}: larger than 64 bits can say", reason="INVALID_SIZE"
        )
    return size_bytes


def render_bytes(size_bytes: float, *, digits: int = 3) -> str:
    """Return a size in powers of 1000 with `digits` significant digits: "4.2MB"."""
    return _scale(size_bytes, 1000, _DECIMAL_UNITS, digits)


def render_bytes_binary(size_bytes: float, *, digits: int = 4) -> str:
    """Return a size in powers of 1024 with `digits` significant digits: "1.5GiB"."""
    return _scale(size_bytes, 1024, _BINARY_UNITS, digits)


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means, in the notation of Go: "1h30m10s", "1.5s", "300ms", "-2m", "0".

    Raises:
        errors.Invalid: Not a duration, a unit is missing, or beyond 292 years.
    """
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return 0.0
    total_ns, position = 0, 0
    while position < len(body) <= _TEXT_LENGTH_MAX:
        match = _DURATION_PART.match(body, position)
        if match is None or not (match[1] or match[2]):
            break
        unit_ns, fraction = _NS_PER_UNIT[match[3]], match[2] or ""
        total_ns += int(match[1] or "0") * unit_ns + int(fraction or "0") * unit_ns // 10 ** len(fraction)
        position = match.end()
    if not body or position != len(body) or total_ns > _INT64_MAX:
        raise errors.Invalid(
            f"invalid duration {_shown(text)}: give numbers with units ns, us, ms, s, m or h, such as 1h30m or 10s",
            reason="INVALID_DURATION",
        )
    return (-total_ns if text[0] == "-" else total_ns) / 1e9


def render_duration(seconds: float) -> str:
    """Return the notation of Go, which `parse_duration` reads back: "1h30m0s", "1.5s", "300ms"."""
    total_ns = round(seconds * 1e9)
    sign, total_ns = ("-", -total_ns) if total_ns < 0 else ("", total_ns)
    if total_ns == 0:
        return "0s"
    if total_ns < _NS_PER_UNIT["s"]:
        unit = next(unit for unit in ("ms", "µs", "ns") if total_ns >= _NS_PER_UNIT[unit])
        return f"{sign}{_decimal(total_ns, _NS_PER_UNIT[unit])}{unit}"
    minutes, rest_ns = divmod(total_ns, _NS_PER_UNIT["m"])
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_decimal(rest_ns, _NS_PER_UNIT['s'])}s"


def human_duration(seconds: float) -> str:
    """Return an age in words: "About a minute", "3 hours", "2 weeks". Callers add " ago"."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit_days, days_per_unit, unit in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < limit_days * 24:
            return f"{hours // 24 // days_per_unit} {unit}"
    return f"{whole // 3600 // 24 // 365} years"


def _scale(size_bytes: float, base: int, units: tuple[str, ...], digits: int) -> str:
    # Compare what will be shown, not the exact value: 999.99 must become 1kB and never 1e+03B.
    sign, value, step = ("-" if size_bytes < 0 else ""), abs(float(size_bytes)), 0
    while float(f"{value:.{digits}g}") >= base and step < len(units) - 1:
        value, step = value / base, step + 1
    shown = f"{value:.{digits}g}"
    return f"{sign}{f'{value:.0f}' if 'e' in shown else shown}{units[step]}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    width = len(str(unit)) - 1
    return f"{whole}.{rest:0{width}d}".rstrip("0")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _TEXT_LENGTH_MAX else text[:_TEXT_LENGTH_MAX] + "…")
