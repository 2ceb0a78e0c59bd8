"""The worker processes, as the daemon sees them: a small pool, filled on demand and emptied when idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Self, TypeVar

from services.imaged.layers import jobs
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

R = TypeVar("R")

_log = log.get(__name__)

WORKERS_MAX = 2
IDLE_S = 10.0


class WorkerPool:
    """Runs jobs, each in a process of its own while it lasts. Entered and left as an async context."""

    def __init__(self, workers_max: int = WORKERS_MAX, idle_s: float = IDLE_S) -> None:
        self._slots = asyncio.Semaphore(workers_max)
        self._idle_s = idle_s
        self._idle: list[tuple[_Worker, asyncio.TimerHandle]] = []
        self._closing: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for worker, timer in self._idle:
            timer.cancel()
            worker.kill()
        workers = [worker for worker, _ in self._idle]
        self._idle.clear()
        for worker in workers:
            await worker.ended()

    async def apply(
        self, job: jobs.ApplyJob, blob: int, target: int, on_progress: Callable[[int], None] | None = None
    ) -> jobs.ApplyResult:
        """Unpack the layer in `blob` (a descriptor at its start) into the directory `target` (a descriptor).

        Raises:
            errors.BeeyardError: As `layers.apply.apply`; the target then holds a part of the layer.
        """
        return await self._run(job, (blob, target), jobs.ApplyResult, on_progress)

    async def export(self, job: jobs.ExportJob, output: int) -> jobs.ExportResult:
        """Write the layer that a comparison makes to `output`; the caller reads or closes the other end."""
        return await self._run(job, (output,), jobs.ExportResult)

    async def list_changes(self, job: jobs.ListChangesJob, output: int) -> None:
        """Write changed paths to `output`."""
        await self._run(job, (output,), jobs.Done)

    async def measure(self, directory: str) -> jobs.MeasureResult:
        """Return the disk usage of a tree."""
        return await self._run(jobs.MeasureJob(directory=directory), (), jobs.MeasureResult)

    async def _run(
        self,
        job: jobs.Job,
        descriptors: Sequence[int],
        expected: type[R],
        on_progress: Callable[[int], None] | None = None,
    ) -> R:
        async with self._slots, self._borrowed() as worker:
            reply = await worker.run(job, descriptors, on_progress)
        if isinstance(reply, jobs.Failure):
            raise reply.to_error()
        assert isinstance(reply, expected), f"{type(job).__name__} was answered with {type(reply).__name__}"
        return reply

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Worker]:
        """Take an idle worker or start one. After a failure of the conversation, or a cancellation, it is killed."""
        worker = self._take() or await _Worker.start()
        try:
            yield worker
        except BaseException:
            worker.kill()
            await worker.ended()
            raise
        timer = asyncio.get_running_loop().call_later(self._idle_s, self._retire, worker)
        self._idle.append((worker, timer))

    def _take(self) -> _Worker | None:
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            if worker.is_alive:
                return worker
            worker.kill()
        return None

    def _retire(self, worker: _Worker) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not worker]
        worker.kill()


class _Worker(asyncio.SubprocessProtocol):
    """One worker process and the socket to it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()

    @classmethod
    async def start(cls) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        worker = cls(ours)
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: worker,
                sys.executable,
                "-m",
                "services.imaged.layers.worker",
                str(theirs.fileno()),
                stdin=None,
                stdout=None,
                stderr=None,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            )
        except OSError as error:
            ours.close()
            raise errors.Internal(f"cannot start a layer worker: {error}", reason="WORKER_FAILED") from error
        finally:
            theirs.close()
        worker._transport = transport
        return worker

    @property
    def is_alive(self) -> bool:
        return not self._exited.is_set()

    def process_exited(self) -> None:
        self._exited.set()
        self._channel.close()
        if self._transport is not None:
            self._transport.close()

    async def ended(self) -> None:
        await self._exited.wait()

    def kill(self) -> None:
        if self._transport is not None and self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    async def run(
        self, job: jobs.Job, descriptors: Sequence[int], on_progress: Callable[[int], None] | None
    ) -> jobs.Reply:
        loop = asyncio.get_running_loop()
        try:
            socket.send_fds(self._channel, [jobs.encode(job)], descriptors)
            while packet := await loop.sock_recv(self._channel, jobs.MESSAGE_BYTES_MAX):
                reply = jobs.decode(packet)
                if not isinstance(reply, jobs.Progress):
                    assert not isinstance(reply, jobs.Job), "a worker sends no jobs"
                    return reply
                if on_progress is not None:
                    on_progress(reply.done_bytes)
        except OSError as error:
            raise errors.Internal(f"a layer worker failed: {error}", reason="WORKER_FAILED") from error
        raise errors.Internal("a layer worker died: the kernel's log may say why", reason="WORKER_FAILED")
