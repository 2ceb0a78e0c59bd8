"""A component that is started and stopped while its surroundings run on.

An async context manager is entered and left by one task; a part gives it a task of its own, so that others may begin
and end it whenever they want, and hear of it when it ends by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from services.kit.tasks import Supervisor

T = TypeVar("T")

_log = log.get(__name__)


class Part(Generic[T]):
    """One run of a component: started once, stopped once."""

    def __init__(self, name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._name = name
        self._make = make
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None
        self.failure: Exception | None = None
        """Why it ended by itself, or did not begin."""

    async def start(self, supervisor: Supervisor) -> T:
        """Enter the component; return what it yields, raise what kept it from beginning.

        If the caller is cancelled meanwhile, the component is left again.
        """
        self._task = supervisor.spawn(self._run(), self._name, critical=False)
        self._task.add_done_callback(lambda _task: self._ended.set())
        try:
            await asyncio.wait([self._entered, self._task], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        if self._entered.done():
            return self._entered.result()
        raise self.failure or errors.Unavailable(f"{self._name} was stopped", reason="SHUTTING_DOWN")

    async def stop(self) -> None:
        """Leave the component; return when it is left. What it ends with is logged, not raised."""
        self._stop.set()
        if self._task is None:
            return
        if not self._entered.done():
            self._task.cancel()
        await self._ended.wait()

    async def ended(self) -> None:
        """Return when it has ended, by whatever."""
        await self._ended.wait()

    @property
    def running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._entered.done() and not self._ended.is_set()

    async def _run(self) -> None:
        try:
            async with self._make() as value:
                self._entered.set_result(value)
                await self._stop.wait()
        except Exception as exc:  # noqa: BLE001 (the border of the component: its owner decides)
            self.failure = _only(exc)
            if isinstance(self.failure, errors.BeeyardError):
                _log.error(
                    "part_failed", part=self._name, reason=self.failure.reason, error=self.failure.message
                )
            else:
                _log.failure("part_failed", exc, part=self._name)


def _only(exc: Exception) -> Exception:
    """Return the failure in a group of one, else the group."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
