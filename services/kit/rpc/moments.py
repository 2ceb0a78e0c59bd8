"""Moments on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


def nanoseconds(moment: Timestamp) -> int:
    """Return a moment in nanoseconds since 1970, also one that no calendar has: it is long ago, or never comes.

    The message's own conversions raise ValueError there.
    """
    return moment.seconds * 10**9 + moment.nanos
