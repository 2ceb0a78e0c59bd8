"""Volumes as tar streams, out and in. A thread packs or unpacks; a pipe is all that lies between it and the caller."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from services.containerd.files.archive import packing, unpacking
from services.containerd.volumes import tree
from services.containerd.volumes.core.volume import Wanted
from services.kit.tar.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from services.containerd.volumes.copies import Copies

CHUNK_BYTES = 256 << 10
_TOP = b"/."


class Transfer:
    """Exports and imports volumes."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    async def export(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield the archive of a volume. Whoever stops listening ends the work.

        Raises:
            errors.NotFound: There is no such volume.
        """
        async with self._copies.reading(name) as place:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            work = asyncio.get_running_loop().run_in_executor(None, _pack, place, writing)
            try:
                while chunk := await asyncio.to_thread(os.read, reading, CHUNK_BYTES):
                    yield chunk
                await work
            finally:
                os.close(reading)  # a packer that still writes gets an error
                with contextlib.suppress(BrokenPipeError):
                    await asyncio.shield(work)

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Fill a new or empty volume from an archive. One that breaks off leaves nothing behind.

        Raises:
            errors.Invalid: The archive is not sound.
            errors.FailedPrecondition: The volume has content, or is in use.
        """
        async with self._copies.receiving(Wanted(name=name)) as place:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            work = asyncio.get_running_loop().run_in_executor(None, _unpack, place, reading)
            try:
                with contextlib.suppress(BrokenPipeError):  # the unpacker has given up: it says why
                    async for chunk in chunks:
                        await asyncio.to_thread(_write, writing, chunk)
            finally:
                os.close(writing)
                await asyncio.shield(asyncio.wait([work]))
            work.result()


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
