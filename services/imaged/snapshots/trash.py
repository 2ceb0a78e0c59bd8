"""Discarded directories on their way out: late and slowly, or at once when the room is needed.

Late, because ext4 passes over every inode that was freed in the last minutes when it makes new ones: to unpack a layer
right after another was removed takes several times as long. So the removal waits a while, and while a layer is being
unpacked; unless the disk is getting full, or somebody waits for the room.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.imaged import disk
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.imaged.snapshots.ports import Driver
    from services.kit.seams import Clock
    from services.kit.tasks import Supervisor

_POLL_S = 0.25


class Trash:
    """Discards directories of one driver and sees that they are removed.

    Args:
        driver: Whose directories.
        supervisor: Owns the removal in the background.
        clock: Tells the time.
        delay_s: How long a removal that nobody waits for is put off.
    """

    def __init__(self, driver: Driver, supervisor: Supervisor, clock: Clock, delay_s: float) -> None:
        self._driver = driver
        self._supervisor = supervisor
        self._clock = clock
        self._delay_s = delay_s
        self._purging = asyncio.Lock()
        self._is_planned = False
        self._not_before = 0.0
        self._waiting = 0
        self._unpacking = 0

    def discard(self, directory: str) -> None:
        """Take a directory out of sight now and remove it in the background; "" is none."""
        if directory:
            self._driver.discard(directory)
            self.purge_later()

    async def discard_now(self, directory: str) -> None:
        """Remove a directory before returning: to be used when a failure may have been for want of room."""
        self._driver.discard(directory)
        await self.purge_now()

    def purge_later(self) -> None:
        """Remove in the background what has been discarded."""
        self._not_before = self._clock.monotonic() + self._delay_s
        if not self._is_planned:
            with contextlib.suppress(errors.Unavailable):  # stopping: the next start empties the trash
                self._supervisor.spawn(self._purge_in_time(), "purge snapshots", critical=False)
                self._is_planned = True

    async def purge_now(self) -> None:
        """Return when all that has been discarded is gone, and make a purge in the background hurry."""
        self._waiting += 1
        try:
            async with self._purging:
                await self._driver.purge(self._clock, self._is_urgent)
        finally:
            self._waiting -= 1

    @contextlib.contextmanager
    def unpacking(self) -> Iterator[None]:
        """Hold back removals that nobody needs while the block makes many files."""
        self._unpacking += 1
        try:
            yield
        finally:
            self._unpacking -= 1

    async def _purge_in_time(self) -> None:
        while not self._is_urgent() and (self._unpacking or self._clock.monotonic() < self._not_before):
            await self._clock.sleep(_POLL_S)
        self._is_planned = False  # what is discarded from here on plans the next one
        async with self._purging:
            await self._driver.purge(self._clock, self._is_urgent)

    def _is_urgent(self) -> bool:
        return self._waiting > 0 or disk.is_scarce(self._driver.root)
