"""Archives out of and into roots, by worker processes: bounded buffers, and nothing left when somebody goes.

The stream of a transfer passes through a socket pair between the daemon and the worker. Its buffer is all that waits:
a slow client makes the worker wait, a slow disk the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, TypeAlias

from services.containerd import pace
from services.containerd.files import jobs
from services.containerd.lifecycle import faults
from services.kit import errors, tasks
from services.kit.workers.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from services.containerd.files.archive.packing import Packing, Stat
    from services.containerd.files.archive.unpacking import Unpacked, Unpacking

TRANSFERS_MAX = 16
"""At work at the same time; who comes later waits."""
IDLE_S = 3.0
CHUNK_BYTES_MAX = 112 << 10
"""What malloc serves from its heap. From 128 KiB on each copy of a chunk, and gRPC makes three, would be mapped, zeroed
and unmapped by the kernel: half of the time that a transfer takes the daemon.
"""
SOCKET_BYTES = 1 << 20


class Root:
    """A root that is there, by descriptor. A transfer closes it when its worker has it no more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        """Give it up. Idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Interruption:
    """A way to end a transfer from outside; `ended` is set when nothing of it holds the root any more.

    Args:
        error: What the transfer then raises.
    """

    def __init__(self, error: errors.BeeyardError) -> None:
        self.ended = asyncio.Event()
        self._error = error
        self._wanted = False
        self._scope: asyncio.Timeout | None = None

    def interrupt(self) -> None:
        """End it."""
        self._wanted = True
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Run the worker inside."""
        try:
            async with asyncio.timeout(None) as self._scope:
                if self._wanted:
                    self.interrupt()
                yield
        except TimeoutError:
            raise self._error from None
        finally:
            self._scope = None
            self.ended.set()


Place: TypeAlias = Root | jobs.Assembly
"""Where files are taken from or put to."""


class Transfers(WorkerPool):
    """Packs and unpacks. Entered and left as an async context."""

    def __init__(
        self,
        *,
        workers_max: int = TRANSFERS_MAX,
        idle_s: float = IDLE_S,
        window_s: float = pace.WINDOW_S,
    ) -> None:
        super().__init__(
            "services.containerd.files.worker", "file worker", workers_max=workers_max, idle_s=idle_s
        )
        self._window_s = window_s

    async def look(self, place: Place, path: str, copy: Interruption, *, follow: bool = False) -> Stat:
        """Return what is at a path.

        Raises:
            errors.BeeyardError: As `archive.packing.look`.
        """
        found: list[Stat] = []

        def on_packet(packet: bytes) -> bool:
            stat = jobs.decode_stat(packet)
            if stat is not None:
                found.append(stat)
            return stat is None

        job = jobs.LookJob(path=path, follow=follow, assembly=_assembly(place))
        await self._work(job, place, (), copy, on_packet)
        return found[0]

    async def read(
        self, place: Place, path: str, packing: Packing, copy: Interruption
    ) -> AsyncGenerator[Stat | bytes, None]:
        """Yield what is at a path, then its archive.

        Whoever leaves early closes this (`contextlib.aclosing`); the worker is killed then.

        Raises:
            errors.BeeyardError: As `archive.packing.pack`; TRANSFER_SLOW.
        """
        job = jobs.PackJob(path=path, packing=packing, assembly=_assembly(place))
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Stat] = loop.create_future()
        failures: list[Exception] = []
        moving = self._pace()
        ours, theirs = _pair()

        def on_packet(packet: bytes) -> bool:
            stat = jobs.decode_stat(packet)
            if stat is not None and not found.done():
                found.set_result(stat)
            return stat is None

        async def run() -> None:
            try:
                await self._work(job, place, (theirs.fileno(),), copy, on_packet, moving)
            except Exception as failure:  # noqa: BLE001 (raised below)
                failures.append(failure)
            finally:
                theirs.close()
                found.cancel()

        with contextlib.closing(ours), contextlib.closing(theirs):
            async with tasks.Supervisor() as supervisor:
                running = supervisor.spawn(run(), "pack files", critical=False)
                try:
                    await asyncio.wait([found])
                    if not found.cancelled():
                        yield found.result()
                        faults.reached("cp.packing")
                        while data := await loop.sock_recv(ours, CHUNK_BYTES_MAX):
                            yield data
                            moving.moved(len(data))
                    await running
                finally:
                    running.cancel()
        if failures:
            raise failures[0]

    async def write(
        self,
        place: Place,
        path: str,
        unpacking: Unpacking,
        chunks: AsyncIterator[bytes],
        copy: Interruption,
    ) -> Unpacked:
        """Unpack an archive into a directory.

        Raises:
            errors.BeeyardError: As `archive.unpacking.unpack`, or what `chunks` raises; TRANSFER_SLOW.
        """
        job = jobs.UnpackJob(path=path, unpacking=unpacking, assembly=_assembly(place))
        failures: list[Exception] = []
        moving = self._pace()
        ours, theirs = _pair()

        async def feed() -> None:
            try:
                async for chunk in chunks:
                    moving.moved(len(chunk))
                    await asyncio.get_running_loop().sock_sendall(ours, chunk)
                    faults.reached("cp.unpacking")
            except (BrokenPipeError, ConnectionResetError):
                return  # the worker has given up, and says why
            except Exception as failure:  # noqa: BLE001 (raised below)
                failures.append(failure)
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_WR)

        with contextlib.closing(ours), contextlib.closing(theirs):
            async with tasks.Supervisor() as supervisor:
                feeding = supervisor.spawn(feed(), "send files to be unpacked", critical=False)
                try:
                    answer = await self._work(job, place, (theirs.fileno(),), copy, moving=moving)
                except errors.BeeyardError:
                    if failures:  # the archive was cut for a reason
                        raise failures[0] from None
                    raise
                finally:
                    feeding.cancel()
        if failures:
            raise failures[0]
        faults.reached("cp.unpacked")
        return jobs.decode_unpacked(answer)

    def _pace(self) -> pace.Pace:
        return pace.Pace(lambda: self.contended, window_s=self._window_s)

    async def _work(
        self,
        job: jobs.Job,
        place: Place,
        data: tuple[int, ...],
        copy: Interruption,
        on_packet: Callable[[bytes], bool] = lambda _: True,
        moving: pace.Pace | None = None,
    ) -> bytes:
        moving = moving or self._pace()
        async with copy.guard(), moving.guard():
            try:
                root = (place.descriptor,) if isinstance(place, Root) else ()
                return await self.run(
                    jobs.encode_job(job),
                    (*data, *root),
                    on_packet,
                    once=job.assembly is not None,
                    begun=moving.begin,
                )
            finally:
                if isinstance(place, Root):
                    place.close()


def open_root(path: str | os.PathLike[str]) -> int:
    """Return a descriptor for `Root`."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    return ours, theirs


def _assembly(place: Place) -> jobs.Assembly | None:
    return place if isinstance(place, jobs.Assembly) else None
