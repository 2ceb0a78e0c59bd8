"""Protobuf timestamps and the seconds since the epoch that decisions reckon in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_NANOS = 1_000_000_000


def seconds(timestamp: Timestamp) -> float:
    """Return the seconds since the epoch; 0.0 for a timestamp that was never set."""
    return timestamp.seconds + timestamp.nanos / _NANOS


def put(timestamp: Timestamp, value: float) -> None:
    """Set a timestamp to seconds since the epoch, rounded to microseconds: a float holds no more today."""
    micros = round(value * 1_000_000)
    timestamp.seconds, rest = divmod(micros, 1_000_000)
    timestamp.nanos = rest * 1000
