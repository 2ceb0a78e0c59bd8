"""Volumes as tar streams, out and in. A thread packs or unpacks; a pipe is all that lies between it and the caller."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, TypeVar

from services.containerd import pace
from services.containerd.files.archive import packing, unpacking
from services.containerd.volumes import threads, tree
from services.containerd.volumes.core.volume import Wanted
from services.kit import errors
from services.kit.tar.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Future
    from pathlib import Path

    from services.containerd.volumes.copies import Copies

T = TypeVar("T")

TRANSFERS_MAX = 8
STALL_S = 60.0
CHUNK_BYTES = 256 << 10
_TOP = b"/."


class Transfer:
    """Exports and imports volumes.

    Args:
        transfers_max: At work at the same time; who comes later waits.
        stall_s: How long a client may take to send or to take a chunk.
        window_s: How often it is looked at whether a client for whose slot others wait moves at all.
    """

    def __init__(
        self,
        copies: Copies,
        *,
        transfers_max: int = TRANSFERS_MAX,
        stall_s: float = STALL_S,
        window_s: float = pace.WINDOW_S,
    ) -> None:
        self._copies = copies
        self._stall_s = stall_s
        self._window_s = window_s
        self._threads = threads.Threads("volume-transfer", transfers_max, each=2)
        """Of each transfer one for either end of its pipe."""

    async def export(self, name: str, take: Callable[[bytes], Awaitable[object]]) -> None:
        """Give the archive of a volume to `take`, chunk by chunk.

        Raises:
            errors.NotFound: There is no such volume.
            errors.Unavailable: A chunk was not taken in time (TRANSFER_STALLED), or TRANSFER_SLOW.
        """
        async with (
            self._threads.slot() as executor,
            self._paced() as moving,
            self._copies.reading(name) as place,
        ):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            async with _until_end(executor.submit(_pack, place, writing), reading):
                while chunk := await threads.to_end(
                    asyncio.wrap_future(executor.submit(os.read, reading, CHUNK_BYTES))
                ):
                    await self._in_time(take(chunk))
                    moving.moved(len(chunk))

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Fill a new or empty volume from an archive. One that breaks off leaves nothing behind.

        Raises:
            errors.Invalid: The archive is not sound.
            errors.FailedPrecondition: The volume has content, or is in use.
            errors.Unavailable: No chunk came in time (TRANSFER_STALLED), or TRANSFER_SLOW.
        """
        async with (
            self._threads.slot() as executor,
            self._paced() as moving,
            self._copies.receiving(Wanted(name=name)) as place,
        ):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            async with _until_end(executor.submit(_unpack, place, reading), writing):
                with contextlib.suppress(BrokenPipeError):  # the unpacker has given up: it says why
                    while (chunk := await self._in_time(anext(chunks, None))) is not None:
                        moving.moved(len(chunk))
                        await threads.to_end(asyncio.wrap_future(executor.submit(_write, writing, chunk)))

    @contextlib.asynccontextmanager
    async def _paced(self) -> AsyncIterator[pace.Pace]:
        moving = pace.Pace(lambda: self._threads.contended, window_s=self._window_s)
        async with moving.guard():
            moving.begin()
            yield moving

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._stall_s):
                return await work
        except TimeoutError:
            raise errors.Unavailable(
                f"the other end of the transfer has not moved for {self._stall_s:g} s",
                reason="TRANSFER_STALLED",
            ) from None


@contextlib.asynccontextmanager
async def _until_end(worker: Future[None], pipe: int) -> AsyncIterator[None]:
    """Close our end of the pipe after the block, and wait for the worker at the other one.

    The failure of a worker is raised if the block has none of its own: one follows from the other.
    """
    work = asyncio.wrap_future(worker)
    try:
        yield
    except BaseException:
        os.close(pipe)  # a packer that still writes gets an error, an unpacker an archive that is cut
        with contextlib.suppress(Exception):
            await threads.to_end(work)
        raise
    os.close(pipe)
    await threads.to_end(work)


def _pack(place: Path, pipe: int) -> None:
    try:
        with tree.opened(place) as root:
            packing.pack(root, _TOP, lambda data: _write(pipe, data), packing.Packing())
    finally:
        os.close(pipe)


def _unpack(place: Path, pipe: int) -> None:
    try:
        with tree.opened(place) as root:
            source = Source(lambda: os.read(pipe, CHUNK_BYTES))
            unpacking.unpack(source, root, b"/", unpacking.Unpacking(with_root=True))
            while os.read(pipe, CHUNK_BYTES):
                pass  # what follows the end of the archive: padding
    finally:
        os.close(pipe)


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
