"""Committed transactions for readers, in order: one bounded history that all readers share.

A reader is a position in the history. One that falls behind what is kept, or was away for longer than that, or lives
through a snapshot that replaces the store, gets a `Resync` and goes on from there; nobody's slowness costs memory.
"""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Self

from services.swarmd.store.changes import Committed, Resync

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES_KEPT_MAX = 20_000


class Feed:
    """The history.

    Args:
        changes_kept_max: How many changes are kept for readers.
    """

    def __init__(self, changes_kept_max: int = CHANGES_KEPT_MAX) -> None:
        self._changes_kept_max = changes_kept_max
        self._history: collections.deque[Committed] = collections.deque()
        self._changes_kept = 0
        self._floor = 0  # what was committed at or before this index is not in the history
        self._index = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def publish(self, committed: Committed) -> None:
        """Add what was just committed, and wake the readers."""
        assert committed.index > self._index, f"{committed.index} is published after {self._index}"
        self._index = committed.index
        self._history.append(committed)
        self._changes_kept += len(committed.changes)
        while self._changes_kept > self._changes_kept_max and len(self._history) > 1:
            oldest = self._history.popleft()
            self._changes_kept -= len(oldest.changes)
            self._floor = oldest.index
        self._wake()

    def reset(self, index: int) -> None:
        """Forget the history: the store was replaced by another state at `index`."""
        self._history.clear()
        self._changes_kept = 0
        self._floor = self._index = index
        self._wake()

    def close(self) -> None:
        """End all readers after what they have not read yet."""
        self._closed = True
        self._wake()

    def watch(self, since: int | None = None) -> Watch:
        """Return a reader of what is committed after `since`; without it, after now."""
        return Watch(self, self._index if since is None else since)

    def after(self, index: int) -> Sequence[Committed] | Resync:
        """Return what was committed after `index`, or a `Resync` if that is no longer known."""
        if index < self._floor:
            return Resync(self._index)
        newer: list[Committed] = []
        for committed in reversed(self._history):
            if committed.index <= index:
                break
            newer.append(committed)
        newer.reverse()
        return newer

    async def wait(self) -> bool:
        """Return at the next commit; whether there may be more."""
        if self._closed:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
        return True

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Watch:
    """One reader. `async for` yields each `Committed`, and a `Resync` where some are missing."""

    def __init__(self, feed: Feed, index: int) -> None:
        self._feed = feed
        self._unread: collections.deque[Committed | Resync] = collections.deque()
        self.index = index
        """The raft index up to which everything has been read."""

    async def read(self) -> Sequence[Committed | Resync]:
        """Return all there is to read, at least one item; an empty answer means that the store is closed."""
        while not (items := self.read_now()):
            if not await self._feed.wait():
                return ()
        return items

    def read_now(self) -> Sequence[Committed | Resync]:
        """Return all there is to read, perhaps nothing."""
        newer = self._feed.after(self.index)
        if isinstance(newer, Resync):
            self.index = newer.index
            return (newer,)
        if newer:
            self.index = newer[-1].index
        return newer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Committed | Resync:
        if not self._unread:
            self._unread.extend(await self.read())
            if not self._unread:
                raise StopAsyncIteration
        return self._unread.popleft()
