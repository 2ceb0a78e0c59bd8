"""Between streams of the event loop and threads that block: both directions, bounded, and ended from either side."""

from __future__ import annotations

import asyncio
import os
import queue
from typing import TYPE_CHECKING, Any, TypeVar

from services.kit import errors, tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator

T = TypeVar("T")

CHUNKS_MAX = 16
CHUNK_BYTES_MAX = 1 << 20


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Return `work(*args)`, run in a thread. If the caller is cancelled, that is raised when the thread has ended."""
    working = asyncio.get_running_loop().run_in_executor(None, work, *args)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await _ended(working)
        raise


async def consume(chunks: AsyncIterator[bytes], work: Callable[[Iterator[bytes]], T]) -> T:
    """Return `work(iterator)`, run in a thread that reads `chunks` through the iterator.

    A failure of `chunks` is raised in the thread, from the iterator. If the caller is cancelled, the iterator raises as
    well, and this returns only when the thread has ended: what the thread used can be cleaned up then.
    """
    bridge = _Bridge()
    async with tasks.Supervisor() as supervisor:
        supervisor.spawn(bridge.pump(chunks), "feed a thread", critical=False)
        working = asyncio.get_running_loop().run_in_executor(None, work, bridge.take())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            bridge.stop()
            await _ended(working)
            raise
        finally:
            bridge.stop()


async def _ended(working: asyncio.Future[T]) -> None:
    """Wait for a thread whose caller has been cancelled; nobody is left to hear of its failure."""
    await asyncio.wait([working])
    if not working.cancelled():
        working.exception()


async def produce(chunks: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """Yield from a blocking generator, each step in a thread, and close it in the end."""
    try:
        while (chunk := await in_thread(next, chunks, None)) is not None:
            if chunk:
                yield chunk
    finally:
        chunks.close()


async def from_pipe(write: Callable[[int], Coroutine[Any, Any, object]]) -> AsyncGenerator[bytes, None]:
    """Yield what `write` writes to a descriptor; when it has ended, raise its failure if it failed.

    Whoever leaves early closes this (`contextlib.aclosing`); `write` is cancelled then.
    """
    reading, writing = os.pipe()
    failures: list[Exception] = []

    async def run() -> None:
        try:
            await write(writing)
        except Exception as failure:  # noqa: BLE001 (raised below)
            failures.append(failure)
        finally:
            os.close(writing)

    reader = asyncio.StreamReader(limit=CHUNK_BYTES_MAX)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        async with tasks.Supervisor() as supervisor:
            running = supervisor.spawn(run(), "write to a pipe", critical=False)
            while chunk := await reader.read(CHUNK_BYTES_MAX):
                yield chunk
            await running
    finally:
        transport.close()
    if failures:
        raise failures[0]


class _Bridge:
    """A bounded queue with an asynchronous end to put into and a blocking end to take from."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(CHUNKS_MAX + 1)
        self._slots = asyncio.Semaphore(CHUNKS_MAX)

    async def pump(self, chunks: AsyncIterator[bytes]) -> None:
        """Move everything; the last thing that the other end gets is the end or the failure."""
        try:
            async for chunk in chunks:
                if len(chunk) > CHUNK_BYTES_MAX:
                    raise errors.Invalid(
                        f"a chunk of {len(chunk)} bytes is larger than {CHUNK_BYTES_MAX}",
                        reason="CHUNK_TOO_LARGE",
                    )
                await self._slots.acquire()
                self._queue.put_nowait(chunk)
        except Exception as error:  # noqa: BLE001 (belongs to the thread that reads)
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(None)

    def take(self) -> Iterator[bytes]:
        """Yield the chunks. For the thread."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._loop.call_soon_threadsafe(self._slots.release)
            yield item

    def stop(self) -> None:
        """Make a thread that waits for chunks give up."""
        try:
            self._queue.put_nowait(errors.Unavailable("the stream was abandoned", reason="CANCELLED"))
        except queue.Full:
            return  # it has more than enough to wake up to, and the pump is cancelled with its owner
