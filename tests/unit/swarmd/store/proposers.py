"""Proposers for a store without raft: at once, late, and with somebody else coming in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

from services.kit import errors
from services.swarmd.store.store import Store


class StillClock:
    """A clock that a test sets; sleeping takes no time but lets others run."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(0)


class DirectProposer:
    """Applies at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entries = 0

    async def propose(self, data: bytes) -> object:
        self.entries += 1
        return self._store.apply(self._store.index + 1, data)


class LaggingProposer:
    """Applies in order, after a while: what raft does."""

    def __init__(self, store: Store, rng: random.Random | None = None) -> None:
        self._store = store
        self._rng = rng or random.Random(0)
        self._turn = asyncio.Lock()
        self.before_apply: Callable[[], None] = lambda: None
        self.in_flight = 0
        self.in_flight_most = 0

    async def propose(self, data: bytes) -> object:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            for _ in range(self._rng.randrange(1, 5)):
                await asyncio.sleep(0)
            async with self._turn:
                self.before_apply()
                return self._store.apply(self._store.index + 1, data)
        finally:
            self.in_flight -= 1


class LostLeader:
    """Knows no leader."""

    async def propose(self, data: bytes) -> object:
        raise errors.Unavailable("no leader", reason="NO_LEADER")
