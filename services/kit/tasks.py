"""Background work with an owner. The only place where a task is made outside an `asyncio.TaskGroup`.

A task without an owner dies silently or outlives what it works on. Here each belongs to a `Supervisor`, which knows two
kinds: *critical* ones run as long as their owner (loops, listeners) and their end, any end, is a fault that stops the
owner; the others do one bounded piece of work whose failure is logged and concerns nobody else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

T = TypeVar("T")

_log = log.get(__name__)

IN_FLIGHT_MAX = 10_000


class UnexpectedEnd(errors.Internal):
    """A critical task returned although nobody had stopped it."""

    default_reason = "TASK_ENDED"


class Supervisor:
    """Owns tasks: none outlives the `async with` block.

    Leaving the block, in any way, cancels the tasks that are left and waits for them. When a critical task ends before
    that, the block is cancelled as well and the failures are raised from it as an `ExceptionGroup`; an exception of
    the block itself passes unwrapped if no critical task failed.

    Args:
        in_flight_max: How many tasks may be alive at once.
    """

    def __init__(self, *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._in_flight_max = in_flight_max
        self._tasks: set[asyncio.Task[Any]] = set()
        self._critical: set[asyncio.Task[Any]] = set()
        self._failures: list[BaseException] = []
        self._owner: asyncio.Task[Any] | None = None
        self._owner_cancelled = False
        self._closing = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def in_flight(self) -> int:
        """How many tasks are alive."""
        return len(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], name: str, *, critical: bool = True) -> asyncio.Task[T]:
        """Run `coro` as a task of this supervisor.

        Args:
            coro: What to run. It is closed if it cannot be taken.
            name: Says what runs, in logs and in `asyncio` debugging.
            critical: Whether its end, by return or exception, stops the owner. Cancelling the task is always fine.

        Raises:
            errors.Exhausted: As many tasks as allowed are alive.
            errors.Unavailable: The supervisor is closing.
        """
        if self._owner is None or self._closing:
            coro.close()
            raise errors.Unavailable(f"cannot start {name}: its owner is not running", reason="SHUTTING_DOWN")
        if len(self._tasks) >= self._in_flight_max:
            coro.close()
            raise errors.Exhausted(
                f"cannot start {name}: {len(self._tasks)} tasks are in flight already",
                reason="TOO_MANY_TASKS",
            )
        task = asyncio.create_task(coro, name=name)  # noqa: TID251 (this is the one place)
        self._tasks.add(task)
        self._empty.clear()
        if critical:
            self._critical.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def idle(self) -> None:
        """Wait until no task is alive: for owners whose tasks all end by themselves."""
        await self._empty.wait()

    async def stop(self) -> None:
        """Refuse new tasks, cancel those that are alive and wait for their end; as leaving the block does, but earlier.

        For owners who must end the tasks before they close what these use. Failures still come out of the block.
        """
        assert asyncio.current_task() not in self._tasks, "a supervised task cannot wait for its own end"
        self._closing = True
        if await self._cancel_all():
            raise asyncio.CancelledError

    async def __aenter__(self) -> Self:
        assert self._owner is None, "a supervisor is entered once"
        self._owner = asyncio.current_task()
        assert self._owner is not None, "a supervisor is entered from a task"
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closing = True
        cancelled_outside = await self._cancel_all()
        if self._owner_cancelled and self._owner is not None and self._owner.uncancel() == 0:
            if isinstance(exc, asyncio.CancelledError):
                exc = None  # our own cancellation, turned into the failures below
        elif isinstance(exc, asyncio.CancelledError) or cancelled_outside:
            # Cancelled from outside: that wins over any failure, which must then not be lost.
            for failure in self._failures:
                _log.failure("critical_task_failed", failure)
            if isinstance(exc, asyncio.CancelledError):
                return
            raise asyncio.CancelledError
        if self._failures:
            if exc is not None:
                self._failures.append(exc)
            raise BaseExceptionGroup("critical tasks failed", self._failures)

    async def _cancel_all(self) -> bool:
        """Cancel every task until none is alive; return whether we were cancelled meanwhile."""
        cancelled = False
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            try:
                await self._empty.wait()
            except asyncio.CancelledError:
                cancelled = True
        return cancelled

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._empty.set()
        critical = task in self._critical
        self._critical.discard(task)
        if task.cancelled():
            return
        failure = task.exception()
        if not critical:
            if failure is not None:
                _log.failure("task_failed", failure, task=task.get_name())
            return
        if failure is None:
            if self._closing:
                return
            failure = UnexpectedEnd(f"task {task.get_name()} ended although it should run on")
        failure.add_note(f"in task {task.get_name()}")
        self._failures.append(failure)
        if not self._closing and not self._owner_cancelled and self._owner is not None:
            self._owner_cancelled = True
            self._owner.cancel()


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return when it has ended; its own failure while ending is left to its owner.

    If the caller is cancelled while it waits, that is raised, after the task was cancelled.
    """
    task.cancel()
    await asyncio.wait([task])  # neither raises the task's failure nor marks it as seen
