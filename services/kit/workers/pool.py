"""Worker processes as the daemon sees them: a small pool, filled on demand and emptied when idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Self

from services.kit import errors
from services.kit.workers import inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType


class WorkerPool:
    """Runs jobs, each in a process of its own while it lasts. Entered and left as an async context.

    Args:
        module: What a worker runs; see `inside.serve`.
        what: For messages: "layer worker".
        workers_max: At work at the same time; who comes later waits.
        idle_s: How long a worker without work is kept.
    """

    def __init__(self, module: str, what: str, *, workers_max: int, idle_s: float) -> None:
        self._module = module
        self._what = what
        self._slots = asyncio.Semaphore(workers_max)
        self._waiting = 0
        self._idle_s = idle_s
        self._idle: list[tuple[_Worker, asyncio.TimerHandle]] = []

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

    @property
    def contended(self) -> bool:
        """Somebody waits for a worker."""
        return self._waiting > 0

    async def run(
        self,
        job: bytes,
        descriptors: Sequence[int],
        on_packet: Callable[[bytes], bool] = lambda _: True,
        *,
        once: bool = False,
        begun: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Send a job with its descriptors, and return the answer.

        Whoever is cancelled leaves no process behind: the worker is killed and waited for.

        Args:
            job: At most `inside.MESSAGE_BYTES_MAX` bytes.
            descriptors: Stay the caller's.
            on_packet: Gets each packet, and says whether it is the answer.
            once: Whether the worker is not to be used again: the job leaves it in a state of its own.
            begun: Is called when the waiting is over.

        Raises:
            errors.BeeyardError: What the work raised, WORKER_FAILED, or REQUEST_TOO_LARGE.
        """
        if len(job) > inside.MESSAGE_BYTES_MAX:  # a path, or more mounts than anybody has
            raise errors.Invalid(
                f"what a {self._what} is to do takes {len(job)} bytes to say: at most {inside.MESSAGE_BYTES_MAX}",
                reason="REQUEST_TOO_LARGE",
            )
        async with self._slot():
            begun()
            async with self._borrowed(once=once) as worker:
                answer = await worker.run(job, descriptors, on_packet)
        failure = inside.decode_failure(answer)
        if failure is not None:
            raise failure
        return answer

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.asynccontextmanager
    async def _borrowed(self, *, once: bool) -> AsyncIterator[_Worker]:
        """Take an idle worker or start one. After a failure of the conversation, or a cancellation, it is killed."""
        worker = self._take() or await _Worker.start(self._module, self._what)
        try:
            yield worker
        except BaseException:
            await worker.end()
            raise
        if once:
            await worker.end()
            return
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

    def __init__(self, channel: socket.socket, what: str) -> None:
        self._channel = channel
        self._what = what
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()

    @classmethod
    async def start(cls, module: str, what: str) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        worker = cls(ours, what)
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: worker,
                sys.executable,
                "-m",
                module,
                str(theirs.fileno()),
                stdin=None,
                stdout=None,
                stderr=None,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            )
        except OSError as error:
            ours.close()
            raise errors.Internal(f"cannot start a {what}: {error}", reason="WORKER_FAILED") from error
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

    async def end(self) -> None:
        self.kill()
        await self.ended()

    def kill(self) -> None:
        if self._transport is not None and self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    async def run(self, job: bytes, descriptors: Sequence[int], on_packet: Callable[[bytes], bool]) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            socket.send_fds(self._channel, [job], descriptors)
            while packet := await loop.sock_recv(self._channel, inside.MESSAGE_BYTES_MAX):
                if inside.decode_failure(packet) is not None or on_packet(packet):
                    return packet
        except OSError as error:
            raise errors.Internal(f"a {self._what} failed: {error}", reason="WORKER_FAILED") from error
        raise errors.Internal(f"a {self._what} died: the kernel's log may say why", reason="WORKER_FAILED")
