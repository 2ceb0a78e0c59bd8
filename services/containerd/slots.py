"""Slots for starts: so many at once, and one that only waits does not keep the others from theirs.

A start costs processor time for a moment; one that takes much longer waits for something, costs nothing, and may wait
for long: for a runtime that hangs, or in a container that stands still at its memory limit. It leaves its slot to the
next. How many there are with those that have left theirs is bounded, for all and for each owner.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Slot:
    """A slot that is taken. It is given back once, whoever says so first."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots: asyncio.Semaphore | None = slots

    def leave(self) -> None:
        """Give it back before the end."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release()

    @contextlib.contextmanager
    def left_after(self, seconds: float) -> Iterator[None]:
        """Give it back if what is done here takes longer."""
        late = asyncio.get_running_loop().call_later(seconds, self.leave)
        try:
            yield
        finally:
            late.cancel()


class Slots:
    """Hands out slots, in the order in which they are asked for.

    Args:
        at_once: So many slots.
        in_flight_max: So many that have a slot or have left it, and have not ended.
        of_one_max: So many of these for each owner; the others of that owner wait, and nobody else does.
    """

    def __init__(self, at_once: int, *, in_flight_max: int, of_one_max: int | None = None) -> None:
        assert at_once <= in_flight_max, "one that leaves its slot makes room for another"
        self._slots = asyncio.Semaphore(at_once)
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._of_one_max = of_one_max if of_one_max is not None else in_flight_max
        self._owners: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def take(self, owner: str) -> AsyncIterator[Slot]:
        """Wait for a slot, and hold it to the end or until it is left."""
        of_owner = self._owners.get(owner)
        if of_owner is None:
            of_owner = self._owners[owner] = asyncio.Semaphore(self._of_one_max)
        async with of_owner, self._in_flight:
            await self._slots.acquire()
            slot = Slot(self._slots)
            try:
                yield slot
            finally:
                slot.leave()
