"""The one queue in front of the core. What is in it is taken as a whole, so that many events share one write."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from services.swarmd.raft.core.events import Propose, Tick

if TYPE_CHECKING:
    from services.swarmd.raft.core.events import Event, Proposal


class Inbox:
    """Events in the order in which they came, then all proposals as one event, then at most one tick.

    A tick comes last on purpose: whatever others said before it must be heard before this member concludes
    from silence. One tick waits at most: time during which the process stood still is not held against
    anybody.
    """

    def __init__(self, events_max: int) -> None:
        self._events: deque[Event] = deque()
        self._events_max = events_max
        self._proposals: list[Proposal] = []
        self._tick = False
        self._wakeup = asyncio.Event()
        self.dropped = 0
        """How many events found no room."""

    def put(self, event: Event) -> bool:
        """Add an event, or drop it if there is no room; tell which."""
        if len(self._events) >= self._events_max:
            self.dropped += 1
            return False
        self._events.append(event)
        self._wakeup.set()
        return True

    def put_certainly(self, event: Event) -> None:
        """Add an event that there is at most one of for each thing under way, so that it needs no limit here."""
        self._events.append(event)
        self._wakeup.set()

    def propose(self, proposal: Proposal) -> None:
        """Add a proposal; how many may be open, the caller sees to."""
        self._proposals.append(proposal)
        self._wakeup.set()

    def tick(self) -> None:
        """Let a tick pass."""
        self._tick = True
        self._wakeup.set()

    def wake(self) -> None:
        """Let `take` return, even if there is nothing."""
        self._wakeup.set()

    async def take(self) -> list[Event]:
        """Wait until there is something, or `wake`; return everything that waits."""
        await self._wakeup.wait()
        self._wakeup.clear()
        events = list(self._events)
        self._events.clear()
        if self._proposals:
            events.append(Propose(proposals=tuple(self._proposals)))
            self._proposals.clear()
        if self._tick:
            events.append(Tick())
            self._tick = False
        return events
