"""Events, as `events` prints them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.format.template import OpenMap

if TYPE_CHECKING:
    from cli.event_streams import Event


def line(event: Event) -> str:
    """Show an event for people, its time in the caller's zone."""
    at = datetime.fromtimestamp(event.time.seconds, UTC).astimezone()
    zone = at.strftime("%z")
    shown = f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{event.time.nanos:09d}{zone[:3]}:{zone[3:]}"
    text = f"{shown} {event.type} {event.action} {event.id}"
    if event.attributes:
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(event.attributes.items()))
        text = f"{text} ({pairs})"
    return text


def message(event: Event) -> dict[str, Any]:
    """Return the fields of an event, by the names of docker's JSON and those of its templates."""
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


_FIELDS = ("Type", "Action", "Actor", "scope", "time", "timeNano")
_OLDER_FIELDS = {"container": ("status", "id", "from"), "image": ("status", "id")}
"""What docker's JSON began with before it had events of other things, and still has for these."""


def document(event: Event) -> dict[str, Any]:
    """Return what docker's JSON has of an event; the other names of `message` are for templates."""
    shown = message(event)
    older = (name for name in _OLDER_FIELDS.get(event.type, ()) if shown[name])
    return {name: shown[name] for name in (*older, *_FIELDS)}
