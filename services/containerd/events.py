"""The stream of events: a bounded past, and live."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from services.kit.watch import Broadcast

if TYPE_CHECKING:
    from services.containerd.model.events import ContainerEvent

PAST_MAX = 1_000
WAITING_MAX = 1_000
"""Events that may wait for one reader."""


class Events:
    """Keeps and sends events."""

    def __init__(self) -> None:
        self._past: collections.deque[ContainerEvent] = collections.deque(maxlen=PAST_MAX)
        self.live: Broadcast[ContainerEvent] = Broadcast(WAITING_MAX)

    def publish(self, event: ContainerEvent) -> None:
        """Keep an event and send it to all readers."""
        self._past.append(event)
        self.live.publish(event)

    def past(self) -> tuple[ContainerEvent, ...]:
        """Return what is kept, oldest first."""
        return tuple(self._past)
