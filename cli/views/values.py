"""Renderings that several views share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

ZERO_TIME = "0001-01-01T00:00:00Z"
SHORT_ID = 12
ELLIPSIS = "…"


def rfc3339(timestamp: Timestamp) -> str:
    """A moment as docker's JSON has it."""
    if not timestamp.seconds and not timestamp.nanos:
        return ZERO_TIME
    return timestamp.ToJsonString()


def since(timestamp: Timestamp, now: datetime) -> str:
    """How long since, for people: "5 minutes"."""
    return units.human_duration(max(0.0, now.timestamp() - timestamp.seconds - timestamp.nanos / 1e9))


def ago(timestamp: Timestamp, now: datetime) -> str:
    """How long ago, for people: "5 minutes ago"; "N/A" if there was no such moment."""
    return f"{since(timestamp, now)} ago" if timestamp.seconds else "N/A"


def go_time(timestamp: Timestamp) -> str:
    """A moment as Go prints it in lists: "2026-01-02 15:04:05 +0000 UTC", in the caller's zone."""
    from datetime import datetime

    return datetime.fromtimestamp(timestamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z %Z")


def nanoseconds(milliseconds: int) -> int:
    """A duration as docker's JSON has it."""
    return milliseconds * 1_000_000


def size_pair(own_bytes: int, whole_bytes: int) -> str:
    """A writable layer and the whole file system: "12B (virtual 21.5MB)"."""
    own = units.render_bytes(own_bytes)
    return f"{own} (virtual {units.render_bytes(whole_bytes)})" if whole_bytes else own


def shorten(text: str, length: int, *, full: bool = False) -> str:
    """Cut a text to a length with an ellipsis, unless `full`."""
    return text if full or len(text) <= length else text[: length - 1] + ELLIPSIS


def short_id(value: str, *, full: bool = False) -> str:
    """The first 12 digits of an id, without the digest's algorithm."""
    return value if full else value.removeprefix("sha256:")[:SHORT_ID]


def label_list(labels: Mapping[str, str]) -> str:
    """Labels as docker's lists print them."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def comma_list(values: Iterable[str]) -> str:
    """Values with commas."""
    return ", ".join(values)
