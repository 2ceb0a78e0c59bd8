"""What is recorded, in memory and on disk, and the order of all changes of it.

One change at a time, from its decision to the kernel: whoever decides sees the outcome of all that went before. A
change runs to its end even if the caller goes away. If the process dies in between, the record says what was meant, and
the next start makes it so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from services.kit import errors
from services.kit.seams import Clock, NewId, Rng
from services.kit.tasks import Supervisor
from services.netd.core.sandboxes import Chance
from services.netd.core.state import Change, State
from services.netd.records import Records

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Time, identity and chance."""

    clock: Clock
    new_id: NewId
    rng: Rng


class Ledger:
    """The state of the node's networks and sandboxes.

    Args:
        records: The same, on disk.
        seams: Time, identity and chance.
        supervisor: Owns the changes that are on their way.
    """

    def __init__(self, records: Records, seams: Seams, supervisor: Supervisor) -> None:
        self._records = records
        self._seams = seams
        self._supervisor = supervisor
        self._lock = asyncio.Lock()
        self._state = State()

    @property
    def state(self) -> State:
        """What is recorded."""
        return self._state

    def chance(self) -> Chance:
        """Return what a decision made now needs of time, identity and chance."""
        return Chance(now=self._seams.clock.now(), new_id=self._seams.new_id, rng=self._seams.rng)

    async def load(self) -> None:
        """Read what is on disk."""
        self._state = await self._records.load(self.chance().now.timestamp())

    async def record(self, *changes: Change) -> None:
        """Write changes that were decided on the present state, all or none; durable and in force on return."""
        if changes:
            now = self.chance().now.timestamp()
            self._state = await self._records.write(self._state, changes, now)

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Wait until no change is on its way, and keep others waiting inside the block."""
        async with self._lock:
            yield

    async def change(self, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a change to its end, whatever becomes of the caller, and after all that came before it."""

        async def run() -> T | errors.BeeyardError:
            async with self._lock:
                try:
                    return await act()
                except errors.BeeyardError as error:
                    return error  # the caller's; a task that fails would be logged as a fault

        outcome = await asyncio.shield(self._supervisor.spawn(run(), name="change", critical=False))
        if isinstance(outcome, errors.BeeyardError):
            raise outcome
        return outcome
