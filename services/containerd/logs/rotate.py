"""Rotating the logs of running containers.

conmon's own size limit throws away what was written before; so the daemon renames the file and lets conmon reopen,
which loses nothing. Nobody looks at a log that is not written to: the kernel tells of the next write. The look at the
size, and the next one while it grows, comes so long after that as the fastest writer would need to the limit; so a log
gets past its limit by what is written in `LOOK_S`, while the daemon reacts, and until conmon has reopened.

What that is too much of a small limit is cut off once conmon writes to the next file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.kernel.inotify import Writes
from services.containerd.logs import files
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from services.containerd.logs.options import LogPolicy
    from services.containerd.model.status import ProcessRef
    from services.containerd.streams.control import ControlFifo
    from services.kit.seams import Clock
    from services.kit.tasks import Supervisor

_log = log.get(__name__)

WRITTEN_BYTES_S_MAX = 400 << 20
"""conmon writes more slowly, whoever feeds it."""
LOOK_S = 0.005
"""The least time between a write and the look that it causes: what a busy writer costs is bounded by it."""
LIST_S = 1.0
"""Between two looks at which containers run. A start is told of; this is for whatever else may happen."""
UNTOLD_S = 0.25
"""Between two looks at a log of whose writes the kernel does not tell: it has only so many watches."""
REOPEN_S = 1.0
"""Then conmon is told once more: a daemon may have ended between the renaming and the telling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The log of one running container."""

    container_id: str
    conmon: ProcessRef | None
    """Who writes it; another run of the container has another one."""
    path: Path
    policy: LogPolicy
    control: ControlFifo

    @property
    def limited(self) -> bool:
        """There is something to do."""
        return bool(self.policy.size_bytes_max and self.policy.in_files)


def look_after_s(left_bytes: int) -> float:
    """Return how long after a write a log may be left alone that can grow by so much. Pure."""
    return max(LOOK_S, left_bytes / WRITTEN_BYTES_S_MAX)


class _Log:
    """What is known of one log."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.size_bytes = -1
        self.told_at: float | None = None
        """When conmon was told to reopen a log that was renamed; None if it has."""

    @property
    def left_bytes(self) -> int:
        """How much it may grow."""
        return self.watched.policy.size_bytes_max - self.size_bytes


class Rotator:
    """Runs for as long as the daemon does.

    Args:
        running: Returns the logs of the containers that run now.
        supervisor: Runs what need not be waited for.
    """

    def __init__(
        self, running: Callable[[], Iterable[Watched]], supervisor: Supervisor, clock: Clock
    ) -> None:
        self._running = running
        self._supervisor = supervisor
        self._clock = clock
        self._logs: dict[str, _Log] = {}
        self._due: dict[str, float] = {}
        """When to look at logs that have been written to. It is empty while nobody writes."""
        self._wake = asyncio.Event()
        self._writes: Writes | None = None

    def started(self, watched: Watched) -> None:
        """A container is about to run: its first line may begin a flood."""
        if watched.limited:
            self._logs[watched.container_id] = _Log(watched)
            self._look_at(watched.container_id, self._clock.monotonic())

    async def run(self) -> None:
        """Look and rotate; for ever."""
        self._writes = Writes(self._written)
        list_at = self._clock.monotonic()
        with contextlib.closing(self._writes):
            while True:
                now = self._clock.monotonic()
                if now >= list_at:
                    self._list()
                    list_at = now + LIST_S
                for container_id in [each for each, due in self._due.items() if due <= now]:
                    del self._due[container_id]
                    await self._check(self._logs[container_id])
                self._wake.clear()
                wait_s = min([list_at, *self._due.values()]) - self._clock.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0, wait_s)):
                        await self._wake.wait()

    def _list(self) -> None:
        """Begin with the logs of new runs, forget those that have ended."""
        running = {watched.container_id: watched for watched in self._running() if watched.limited}
        for gone in self._logs.keys() - running.keys():
            del self._logs[gone]
            self._due.pop(gone, None)
            if self._writes is not None:
                self._writes.disarm(gone)
        for container_id, watched in running.items():
            known = self._logs.get(container_id)
            if known is None or known.watched.conmon != watched.conmon:
                self.started(watched)
            else:
                known.watched = watched

    def _written(self, container_id: str) -> None:
        if (written := self._logs.get(container_id)) is not None:
            self._again(written, look_after_s(written.left_bytes))

    def _look_at(self, container_id: str, due: float) -> None:
        self._due[container_id] = due
        self._wake.set()

    async def _check(self, entry: _Log) -> None:
        try:
            await self._look(entry)
        except OSError as exc:
            _log.warning("log_rotation_failed", container=entry.watched.container_id, error=str(exc))
            self._again(entry, UNTOLD_S)

    async def _look(self, entry: _Log) -> None:
        """Look at one log, and rotate it if it is too long."""
        watched = entry.watched
        try:
            size = watched.path.stat().st_size
            told = True
            if size == entry.size_bytes:  # it is at rest
                told = self._arm(entry)
                size = watched.path.stat().st_size  # written to before we were to be told of it
        except FileNotFoundError:
            await self._wait_for_reopening(entry)
            return
        if entry.told_at is not None:
            entry.told_at = None
            watched.control.log_reopened()
            self._supervisor.spawn(_trim(watched), "trim a log", critical=False)
        grows, entry.size_bytes = size != entry.size_bytes, size
        if entry.left_bytes < 0:
            entry.size_bytes = -1  # the next one is another file
            await asyncio.to_thread(files.rotate, watched.path)
            await self._tell(entry)
        elif grows:
            self._again(entry, look_after_s(entry.left_bytes))
        elif not told:
            self._again(entry, UNTOLD_S)

    def _arm(self, entry: _Log) -> bool:
        """Have the kernel tell of the next write; return whether it will."""
        assert self._writes is not None, "nobody runs this"
        try:
            self._writes.arm(entry.watched.container_id, entry.watched.path)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            return False
        return True

    async def _wait_for_reopening(self, entry: _Log) -> None:
        """The log was renamed, and conmon has not reopened it yet; or this daemon's predecessor has not told it."""
        if entry.told_at is None or self._clock.monotonic() - entry.told_at >= REOPEN_S:
            await self._tell(entry)
        else:
            self._again(entry, LOOK_S)

    async def _tell(self, entry: _Log) -> None:
        await entry.watched.control.reopen_log()
        entry.told_at = self._clock.monotonic()
        self._again(entry, LOOK_S)
        _log.debug("log_rotated", container=entry.watched.container_id)

    def _again(self, entry: _Log, after_s: float) -> None:
        if self._logs.get(entry.watched.container_id) is entry:
            self._look_at(entry.watched.container_id, self._clock.monotonic() + after_s)


async def _trim(watched: Watched) -> None:
    policy = watched.policy
    await asyncio.to_thread(files.trim, watched.path, policy.size_bytes_max, policy.files_max)
