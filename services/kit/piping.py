"""Run a program and take its output as it comes: for what is too long to keep, or never ends by itself.

`subproc.run` is for all others. Here too there is an argument list and no shell, the program has a process group of its
own, and none of it is left when the block is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, cast

from services.kit import errors, subproc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

BUFFER_BYTES_MAX = 256 << 10
"""About so much is read ahead of who takes it; then the program waits."""
STDERR_BYTES_MAX = 16 << 10
_STDOUT = 1


class Output:
    """The standard output of a running program. Made by `piped`."""

    def __init__(self, argv: Sequence[str], transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
        self._argv = argv
        self._transport = transport
        self._pipes = pipes

    async def read(self) -> bytes:
        """Return what there is, as soon as there is any; empty at the end. Nothing is lost by a cancellation.

        Raises:
            subproc.Failed: The program has ended with another code than 0.
        """
        await self._pipes.news.wait()
        data = self._pipes.take()
        if data:
            cast("asyncio.ReadTransport", self._transport.get_pipe_transport(_STDOUT)).resume_reading()
            return data
        await self._pipes.exited.wait()
        if code := cast("int", self._transport.get_returncode()):
            stderr = bytes(self._pipes.stderr)
            raise subproc.Failed(
                subproc.failure(self._argv, code, stderr),
                completed=subproc.Completed(returncode=code, stdout=b"", stderr=stderr),
                program=os.fspath(self._argv[0]),
            )
        return b""


@contextlib.asynccontextmanager
async def piped(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> AsyncIterator[Output]:
    """Run a program for as long as the block lasts; it is killed with its group if it still runs then.

    Raises:
        errors.Internal: It cannot be started (PROGRAM_MISSING, PROGRAM_NOT_STARTED).
    """
    try:
        transport, pipes = await asyncio.get_running_loop().subprocess_exec(
            _Pipes, *argv, env=env, stdin=asyncio.subprocess.DEVNULL, process_group=0
        )
    except OSError as exc:
        missing = isinstance(exc, FileNotFoundError)
        raise errors.Internal(
            f"cannot run {argv[0]}: {exc.strerror}",
            reason="PROGRAM_MISSING" if missing else "PROGRAM_NOT_STARTED",
        ) from exc
    try:
        yield Output(argv, transport, pipes)
    finally:
        await subproc.end(transport, pipes.exited)


class _Pipes(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.transport: asyncio.SubprocessTransport | None = None
        self.news = asyncio.Event()
        """There is output, or there will be none."""
        self.exited = asyncio.Event()
        self.stderr = bytearray()
        self._buffer = bytearray()
        self._over = False

    def take(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        if not self._over:
            self.news.clear()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != _STDOUT:
            self.stderr += data
            del self.stderr[:-STDERR_BYTES_MAX]
            return
        self._buffer += data
        self.news.set()
        if len(self._buffer) >= BUFFER_BYTES_MAX and self.transport is not None:
            cast("asyncio.ReadTransport", self.transport.get_pipe_transport(fd)).pause_reading()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        if fd == _STDOUT:
            self._over = True
            self.news.set()

    def process_exited(self) -> None:
        self.exited.set()
