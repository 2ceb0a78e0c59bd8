"""What a daemon tells of what happens in it: a bounded past, then live.

The past is in memory alone: it is for those who look a moment later, not a record of the node.
"""

from __future__ import annotations

import asyncio
import collections
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.kit import event_filters
from services.kit.watch import Broadcast, Resync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from datetime import datetime

    from services.kit.event_filters import Filters
    from services.kit.seams import Clock

PAST_MAX = 1_000
"""Events that are kept."""
WAITING_MAX = 1_000
"""Events that may wait for one reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one object."""

    at: datetime
    type: str
    """Docker's kind of object: container, volume, image, network."""
    action: str
    """In docker's words: "start", "exec_create: sh -c true"."""
    id: str
    """Of the object, as docker has it; a volume's is its name. Empty for what is about many, a prune."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Its name, its labels, and what belongs to the action."""


@dataclass(frozen=True, slots=True)
class Live:
    """Comes once: the kept past has been given, what follows is given as it happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a reader wants."""

    since_s: float | None = None
    """The past from this moment, in seconds since 1970; None is none of it."""
    until_s: float | None = None
    """The end; None is never."""
    filters: Filters = field(default_factory=dict)


class History:
    """Keeps events and hands them out."""

    def __init__(self) -> None:
        self._past: collections.deque[Event] = collections.deque(maxlen=PAST_MAX)
        self._live: Broadcast[Event] = Broadcast(WAITING_MAX)

    def publish(self, event: Event) -> None:
        """Keep an event and hand it to all readers. Never waits; for the event loop's thread."""
        self._past.append(event)
        self._live.publish(event)

    async def watch(self, selection: Selection, clock: Clock) -> AsyncGenerator[Event | Live | Resync, None]:
        """Yield the past that is wanted, `Live`, then what happens. A reader that is too slow finds a `Resync`.

        Raises:
            errors.Invalid: FILTER_INVALID, at once.
        """
        event_filters.check(selection.filters)
        async with self._live.subscribe() as live:
            # Nothing is awaited between the two: no event is missed, none comes twice.
            past = tuple(self._past) if selection.since_s is not None else ()
            for event in past:
                if _is_wanted(event, selection):
                    yield event
            yield Live()
            while True:
                try:
                    # No yield inside: a reader that writes slowly must not be what the deadline ends.
                    async with asyncio.timeout(_left_s(selection, clock)):
                        item = await anext(live, None)
                except TimeoutError:
                    return
                if item is None or (isinstance(item, Event) and _is_late(item, selection)):
                    return
                if isinstance(item, Resync) or event_filters.matches(item, selection.filters):
                    yield item


def _is_wanted(event: Event, selection: Selection) -> bool:
    return (
        (selection.since_s is None or event.at.timestamp() >= selection.since_s)
        and not _is_late(event, selection)
        and event_filters.matches(event, selection.filters)
    )


def _is_late(event: Event, selection: Selection) -> bool:
    return selection.until_s is not None and event.at.timestamp() > selection.until_s


def _left_s(selection: Selection, clock: Clock) -> float | None:
    if selection.until_s is None:
        return None
    return max(selection.until_s - clock.now().timestamp(), 0.0)
