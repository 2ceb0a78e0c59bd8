"""Discarded directories on their way out: in the background and slowly, or at once when the room is needed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from services.imaged.snapshots.ports import Driver
    from services.kit.seams import Clock
    from services.kit.tasks import Supervisor


class Trash:
    """Discards directories of one driver and sees that they are removed."""

    def __init__(self, driver: Driver, supervisor: Supervisor, clock: Clock) -> None:
        self._driver = driver
        self._supervisor = supervisor
        self._clock = clock
        self._purging = asyncio.Lock()
        self._waiting_urgently = 0
        self._is_dirty = True

    def discard(self, directory: str) -> None:
        """Take a directory out of sight now and remove it in the background; "" is none."""
        if directory:
            self._driver.discard(directory)
            self.purge_later()

    async def discard_now(self, directory: str) -> None:
        """Remove a directory before returning: to be used when a failure may have been for want of room."""
        self._driver.discard(directory)
        self._is_dirty = True
        await self.purge_now()

    def purge_later(self) -> None:
        """Remove in the background what has been discarded."""
        self._is_dirty = True
        if not self._purging.locked():
            with contextlib.suppress(errors.Unavailable):  # stopping: the next start empties the trash
                self._supervisor.spawn(self._purge(), "purge snapshots", critical=False)

    async def purge_now(self) -> None:
        """Return when all that has been discarded is gone, and make a purge in the background hurry."""
        self._waiting_urgently += 1
        try:
            await self._purge()
        finally:
            self._waiting_urgently -= 1

    async def _purge(self) -> None:
        async with self._purging:
            while self._is_dirty:
                self._is_dirty = False
                await self._driver.purge(self._clock, lambda: self._waiting_urgently > 0)
