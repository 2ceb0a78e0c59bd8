"""Progress of long work, from whatever thread does it to the stream that tells the client."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.kit import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

T = TypeVar("T")

INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far one part of the work is."""

    id: str
    """A blob's digest, or the name of a step."""
    phase: str
    """downloading, verifying, extracting, exists, complete, …"""
    done_bytes: int = 0
    total_bytes: int = 0
    source: str = ""


class Feed:
    """Keeps the latest step of each part. Memory is bounded by the number of parts, however slow the reader is."""

    def __init__(self) -> None:
        self._changed: dict[str, Step] = {}

    def report(self, step: Step) -> None:
        """Tell how far a part is. Safe from any thread."""
        self._changed[step.id] = step

    def take(self) -> list[Step]:
        """Return what has changed since the last call."""
        taken, self._changed = self._changed, {}
        return list(taken.values())


class NoFeed(Feed):
    """For callers that want no progress."""

    def report(self, step: Step) -> None:
        """Forget it."""


class Work(Generic[T]):
    """Long work that runs while its progress is read. Made by `run`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._ended = asyncio.Event()
        self._result: tuple[T] | None = None
        self._failure: Exception | None = None

    async def steps(self) -> AsyncIterator[Sequence[Step]]:
        """Yield what has changed, now and then, until the work has ended in any way."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._ended.wait()
            is_last = self._ended.is_set()
            if steps := self._feed.take():
                yield steps
            if is_last:
                return

    def result(self) -> T:
        """Return or raise what the work came to; to be called after `steps` is exhausted."""
        if self._failure is not None:
            raise self._failure
        assert self._result is not None, "the work has not ended"
        return self._result[0]

    async def do(self, work: Coroutine[Any, Any, T]) -> None:
        """Do the work and keep its outcome; called by `run`."""
        try:
            self._result = (await work,)
        except Exception as failure:  # noqa: BLE001 (raised again by `result`)
            self._failure = failure
        finally:
            self._ended.set()


@contextlib.asynccontextmanager
async def run(work: Coroutine[Any, Any, T], feed: Feed) -> AsyncIterator[Work[T]]:
    """Do `work` while the block reads its progress; leaving the block early cancels it and waits for its end."""
    running: Work[T] = Work(feed)
    async with tasks.Supervisor() as supervisor:
        supervisor.spawn(running.do(work), "long work", critical=False)
        yield running
