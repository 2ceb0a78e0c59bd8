"""Clients of transfers who hardly move, and those who wait for their slots.

A transfer waits for its client as long as that takes: what feeds a pipe may think for minutes, a line may be slow. Only
when others wait for a slot has a client to move so much in every window; else its transfer is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

WINDOW_S = 60.0
LEAST_BYTES = 256 << 10
"""In each window: 4 KiB a second, less than any line gives on which somebody copies files."""


class Pace:
    """How one transfer moves.

    Args:
        contended: Whether somebody waits for the slot.
        window_s: How often it is looked at.
    """

    def __init__(self, contended: Callable[[], bool], *, window_s: float = WINDOW_S) -> None:
        self._contended = contended
        self._window_s = window_s
        self._moved_bytes = 0
        self._scope: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Run the transfer inside.

        Raises:
            errors.Unavailable: It did not move enough while others waited (TRANSFER_SLOW).
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise errors.Unavailable(
                f"the transfer moved less than {LEAST_BYTES >> 10} KiB in {self._window_s:g} s"
                " while others waited for its place",
                reason="TRANSFER_SLOW",
            ) from None
        finally:
            self._scope = None
            if self._timer is not None:
                self._timer.cancel()

    def begin(self) -> None:
        """It has a slot. Within `guard`."""
        self._moved_bytes = 0
        self._timer = asyncio.get_running_loop().call_later(self._window_s, self._look)

    def moved(self, count: int) -> None:
        """The client has sent or taken so much."""
        self._moved_bytes += count

    def _look(self) -> None:
        if self._moved_bytes >= LEAST_BYTES or not self._contended():
            self.begin()
        elif self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())
