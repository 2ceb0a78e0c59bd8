"""Docker's filters of `events`. Pure.

The values of one key are alternatives, but for labels, which must all be there; different keys all have to hold. A key
that is not known is an error, never ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.kit.events import Event

    Filters: TypeAlias = Mapping[str, Sequence[str]]

SCOPE = "local"
"""Of all events of a node's daemons."""
_OBJECTS = frozenset(
    {"config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"}
)
"""Kinds of objects that are chosen by the beginning of an id or a name."""
KEYS = _OBJECTS | {"event", "image", "label", "scope", "type"}


def check(filters: Filters) -> None:
    """Refuse what docker does not have.

    Raises:
        errors.Invalid: FILTER_INVALID.
    """
    for key in filters:
        if key not in KEYS:
            raise errors.Invalid(
                f"unknown filter {key[:50]!r}; there are {', '.join(sorted(KEYS))}", reason="FILTER_INVALID"
            )


def matches(event: Event, filters: Filters) -> bool:
    """Return whether an event is among those that `filters` ask for; their keys are those of `check`."""
    return all(_fits(event, key, values) for key, values in filters.items())


def _fits(event: Event, key: str, values: Sequence[str]) -> bool:
    match key:
        case "event":  # "health_status: healthy" is also asked for as "health_status"
            return event.action in values or event.action.partition(":")[0] in values
        case "image":
            return not _image_names(event).isdisjoint(values)
        case "label":
            return all(_has_label(event.attributes, value) for value in values)
        case "scope":
            return SCOPE in values
        case "type":
            return event.type in values
        case _:
            names = (event.id, event.attributes.get("name", ""))
            return event.type == key and any(name.startswith(value) for name in names for value in values)


def _image_names(event: Event) -> set[str]:
    """Return what the image of an event may be called: its id, its name, its name without the tag."""
    names = {event.id, event.attributes.get("name", "")} if event.type == "image" else set()
    if event.type == "container":
        names = {event.attributes.get("image", "")}
    return {*names, *map(_without_tag, names)} - {""}


def _without_tag(name: str) -> str:
    head, _, last = name.rpartition("/")
    bare = last.partition("@")[0].partition(":")[0]
    return f"{head}/{bare}" if head else bare


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    name, given, value = wanted.partition("=")
    return name in labels and (not given or labels[name] == value)
