"""Keeps the order that the effects ask for: groups writes, and holds messages until what they depend on is durable.

One write is under way at a time. What comes up meanwhile waits and becomes the next one: under load many
steps share one fsync, and an idle member writes at once. Messages that depend on nothing pass.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.swarmd.raft.core.effects import Persist, Send
    from services.swarmd.raft.core.messages import Message


class Pipeline:
    """Between the core and the disk and network of one member."""

    __slots__ = ("_durable", "_held", "_ready", "_waiting", "_writing")

    def __init__(self) -> None:
        self._durable = 0
        self._waiting: list[Persist] = []
        self._writing: tuple[Persist, ...] = ()
        self._held: deque[Send] = deque()
        self._ready: list[Message] = []

    def persist(self, effect: Persist) -> None:
        """Take a write."""
        self._waiting.append(effect)

    def send(self, effect: Send) -> None:
        """Take a message."""
        if effect.after <= self._durable:
            self._ready.append(effect.message)
        else:
            self._held.append(effect)

    def next_write(self) -> tuple[Persist, ...]:
        """Return the writes to be performed now, as one; none while others are under way."""
        if self._writing or not self._waiting:
            return ()
        self._writing, self._waiting = tuple(self._waiting), []
        return self._writing

    def written(self) -> int:
        """Note that what `next_write` returned is durable; return the sequence number to report to the core."""
        assert self._writing, "no write is under way"
        self._durable = self._writing[-1].sequence
        self._writing = ()
        still_held: deque[Send] = deque()
        for effect in self._held:
            if effect.after <= self._durable:
                self._ready.append(effect.message)
            else:
                still_held.append(effect)
        self._held = still_held
        return self._durable

    def take_messages(self) -> list[Message]:
        """Return the messages that may leave now, in order."""
        messages, self._ready = self._ready, []
        return messages
