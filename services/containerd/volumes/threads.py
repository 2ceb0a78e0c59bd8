"""Threads for work that takes as long as it takes: a number of its own, and nobody leaves before the work has ended.

The event loop's own threads mount, unmount and remove for all containers. What waits for a client or moves all of a
volume must not take them away.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A bounded number of threads.

    Args:
        name: Of the threads.
        slots_max: Who has a slot works; who comes later waits.
        each: Threads of a slot.
    """

    def __init__(self, name: str, slots_max: int, *, each: int = 1) -> None:
        self._executor = ThreadPoolExecutor(slots_max * each, thread_name_prefix=name)
        self._free = asyncio.Semaphore(slots_max)
        self._waiting = 0

    @property
    def contended(self) -> bool:
        """Somebody waits for a slot."""
        return self._waiting > 0

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[ThreadPoolExecutor]:
        """Wait for a slot; yield what runs its calls. They have ended when the block is left (`to_end`)."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield self._executor
        finally:
            self._free.release()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `work` returns, run in one of the event loop's threads: for what is short.

    If the caller is cancelled, that is raised when the work has ended: what it used can be removed then.
    """
    loop = asyncio.get_running_loop()
    return await to_end(loop.run_in_executor(None, lambda: work(*args, **kwargs)))


async def to_end(work: Awaitable[T], on_cancel: Callable[[], object] = lambda: None) -> T:
    """Wait for the end of something that cannot be cancelled, however often the caller is; that is raised then.

    The failure of work whose caller has gone is nobody's.

    Args:
        work: It goes on in any case.
        on_cancel: Makes it end earlier.
    """
    working = asyncio.shield(work)  # waited for, never cancelled
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as exc:
            cancelled = exc
            on_cancel()
    if cancelled is None:
        return working.result()
    if not working.cancelled():
        working.exception()
    raise cancelled
