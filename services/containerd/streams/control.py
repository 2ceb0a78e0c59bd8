"""conmon's control fifo: terminal sizes and the reopening of the log.

conmon 2.1 handles only the first of two lines that it reads at once (it applies it twice), so writes of one container
are kept apart; sizes that come faster than that are coalesced to the newest.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from services.kit.seams import Clock

SPACING_S = 0.02
_RESIZE = 1
_REOPEN_LOG = 2
SIZE_MAX = 65_535


class ControlFifo:
    """Writes to the control fifo of one container; what is written to one that has ended is lost."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._path = directory / "ctl"
        self._clock = clock
        self._lock = asyncio.Lock()
        self._wanted: tuple[int, int] | None = None
        self._size: tuple[int, int] | None = None
        self._free_at = 0.0

    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal; one that is set before the start is applied then (`begin`)."""
        self._wanted = self._size = (min(rows, SIZE_MAX), min(columns, SIZE_MAX))
        async with self._lock:
            if self._wanted is not None:  # else the one before us has written our size for us
                await self._space()
                self._write_size()

    def _write_size(self) -> None:
        size, self._wanted = self._wanted, None
        if size is not None:
            self._write(f"{_RESIZE} {size[0]} {size[1]}\n")

    async def begin(self) -> None:
        """A run exists, its program does not execute yet."""
        if self._size is not None:
            await self.resize(*self._size)

    async def reopen_log(self) -> None:
        """Make conmon open its log file anew: after it was renamed."""
        async with self._lock:
            await self._space()
            self._write(f"{_REOPEN_LOG} 0 0\n")

    def log_reopened(self) -> None:
        """The new file is there: conmon has read the message, another one cannot run into it."""
        self._free_at = 0.0

    async def _space(self) -> None:
        wait_s = self._free_at - self._clock.monotonic()
        if wait_s > 0:
            await self._clock.sleep(wait_s)

    def _write(self, line: str) -> None:
        self._free_at = self._clock.monotonic() + SPACING_S
        try:
            # Without O_NONBLOCK this would hang when conmon is gone; the fifo then has no reader and gives ENXIO.
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.write(fd, line.encode("ascii"))
        except OSError:
            return
        finally:
            os.close(fd)
