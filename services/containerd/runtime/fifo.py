"""Letting a created container execute its program, without running `RUNTIME start`.

Both runtimes leave the init blocked on `exec.fifo`, at opposite ends: runc's opens it for writing, crun's for reading.
Opening it at the other end costs 0.05 ms where the command costs 4 to 6. The fifo exists as long as the start has not
been given, which is what recovery goes by.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from services.containerd.runtime.flavour import Kind

if TYPE_CHECKING:
    from pathlib import Path

OPEN_TIMEOUT_S = 10.0


async def open_gate(kind: Kind, fifo: Path, init_pidfd: int) -> None:
    """Start the program. Idempotent: a gate that was opened before, or whose init is dead, is left alone.

    Raises:
        OSError: The fifo cannot be opened for another reason.
        TimeoutError: The init neither took the start nor died.
    """
    if kind is Kind.RUNC:
        await _read(fifo, init_pidfd)
    else:
        _write(fifo)


def _write(fifo: Path) -> None:
    """crun: the init polls the reading end for one byte. The fifo goes after the byte: its init never sees an end."""
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as exc:
        if exc.errno != errno.ENXIO:  # nobody reads: it was started, or died
            raise
    else:
        try:
            os.write(fd, b"\0")
        finally:
            os.close(fd)
    fifo.unlink(missing_ok=True)


async def _read(fifo: Path, init_pidfd: int) -> None:
    """runc: the init's opening for writing returns once we read. The fifo goes first: what is opened is started."""
    try:
        fd = os.open(fifo, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    try:
        fifo.unlink(missing_ok=True)
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await _either_readable(fd, init_pidfd)
        try:
            os.read(fd, 1)
        except BlockingIOError:
            return  # the init died first
    finally:
        os.close(fd)


async def _either_readable(*fds: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def set_once() -> None:
        if not ready.done():
            ready.set_result(None)

    duplicates = [os.dup(fd) for fd in fds]  # a pidfd may have a reader of its own already
    for fd in duplicates:
        loop.add_reader(fd, set_once)
    try:
        await ready
    finally:
        for fd in duplicates:
            loop.remove_reader(fd)
            os.close(fd)
