"""Events, as `events` prints them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.format.template import OpenMap

if TYPE_CHECKING:
    from beeyard.container.v1 import container_pb2 as pb


def line(event: pb.Event) -> str:
    """Show an event for people, its time in the caller's zone."""
    at = datetime.fromtimestamp(event.time.seconds, UTC).astimezone()
    zone = at.strftime("%z")
    shown = f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{event.time.nanos:09d}{zone[:3]}:{zone[3:]}"
    text = f"{shown} {event.type} {event.action} {event.id}"
    if event.attributes:
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(event.attributes.items()))
        text = f"{text} ({pairs})"
    return text


def message(event: pb.Event) -> dict[str, Any]:
    """Show an event as docker's JSON has it."""
    return {
        "status": event.action,
        "id": event.id,
        "from": event.attributes.get("image", ""),
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": OpenMap(sorted(event.attributes.items()))},
        "scope": "local",
        "time": event.time.seconds,
        "timeNano": event.time.ToNanoseconds(),
        "Status": event.action,
        "ID": event.id,
        "From": event.attributes.get("image", ""),
        "Time": event.time.seconds,
        "TimeNano": event.time.ToNanoseconds(),
        "Scope": "local",
    }


JSON_FIELDS = ("status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano")
"""What JSON has of it; the others are the names that templates use."""
