"""Moments as people write them in --since and --until."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from cli.specs.values import invalid
from services.kit import errors, units

_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_DATE_AND_ZONE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z|[-+][0-9]{2}:[0-9]{2})", re.ASCII)
_FRACTION = re.compile(r":[0-9]{2}[.,]([0-9]+)", re.ASCII)
_NANO = 1_000_000_000


def parse(text: str, option: str, now: datetime) -> Timestamp:
    """Read a moment: a date with or without time and zone, seconds since the epoch, or a duration ago.

    Without a zone it is the caller's own, as docker has it.

    Raises:
        errors.Invalid: It is none of these.
    """
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return Timestamp(seconds=int(whole), nanos=int(fraction.ljust(9, "0") or "0"))
    try:
        seconds = units.parse_duration(text)
    except errors.Invalid:
        seconds = None
    try:
        if seconds is not None:
            return _timestamp(now - timedelta(seconds=seconds))
        date = _DATE_AND_ZONE.fullmatch(text)
        moment = datetime.fromisoformat(f"{date[1]}T00:00{date[2]}" if date else text).astimezone(UTC)
        found = _timestamp(moment)
        if decimals := _FRACTION.search(text):  # datetime knows no more than millionths
            found.nanos = int(decimals[1][:9].ljust(9, "0"))
        return found
    except (ValueError, OverflowError):
        raise invalid(
            f"{option} {text!r}: give a moment such as 2026-01-02T15:04:05Z, seconds since 1970, or a duration such"
            " as 10m"
        ) from None


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def rfc3339_nano(moment: Timestamp) -> str:
    """Return a moment as log lines carry it: always nine decimals."""
    whole = datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{moment.nanos:09d}Z"
