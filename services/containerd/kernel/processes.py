"""Processes of which we are not the parent: known by pid and start time, held by pidfd."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.model.status import ProcessRef

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

_START_TIME_FIELD = 22
_CMDLINE_BYTES_MAX = 128 << 10
_HELD_MAX = 64
"""So many pidfds at once."""


def reference(pid: int) -> ProcessRef | None:
    """Return what identifies the process that has this pid now, None if there is none."""
    ticks = _start_ticks(pid)
    return None if ticks is None else ProcessRef(pid=pid, start_ticks=ticks)


def open_fd(process: ProcessRef) -> int | None:
    """Return a pidfd of exactly this process, None if it is gone. A zombie is not gone: its pidfd is readable.

    Raises:
        OSError: There is no descriptor left (EMFILE, ENFILE): nothing is known of the process.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except OSError as exc:
        if exc.errno in (errno.ESRCH, errno.EINVAL):  # EINVAL: the number is a thread's now
            return None
        raise
    if _start_ticks(process.pid) != process.start_ticks:
        os.close(fd)
        return None
    return fd


def alive(process: ProcessRef) -> bool:
    """Return whether this process runs (a zombie does not)."""
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.start_ticks and stat[0] not in "ZX"


def ends(process: ProcessRef) -> bool:
    """Return whether this process has ended or is about to.

    The init of a pid namespace is a zombie only when all others there are gone, but has no namespaces before.
    """
    try:
        os.readlink(f"/proc/{process.pid}/ns/mnt")  # noqa: PTH115 (no path: only whether it is there)
    except OSError:
        return True
    return not alive(process)


def send(fd: int, number: int) -> bool:
    """Send a signal through a pidfd; return False if the process is gone."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def kill(process: ProcessRef) -> bool:
    """Send SIGKILL to exactly this process; return False if it is gone."""
    fd = open_fd(process)
    if fd is None:
        return False
    try:
        return send(fd, signal.SIGKILL)
    finally:
        os.close(fd)


def kill_those(pids: Iterable[int], meant: Callable[[], Container[int]]) -> None:
    """Send SIGKILL to processes that are known by their numbers alone, those that still are the ones that are meant.

    `meant` is asked again while they are held by pidfd: a number may be another process's by then.
    """
    left = list(pids)
    while left:
        batch, left = left[:_HELD_MAX], left[_HELD_MAX:]
        with contextlib.ExitStack() as opened:
            held: dict[int, int] = {}
            for pid in batch:
                try:
                    held[pid] = os.pidfd_open(pid)
                except OSError as exc:
                    if (
                        exc.errno in (errno.EMFILE, errno.ENFILE) and pid in meant()
                    ):  # as sure as can be without
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                else:
                    opened.callback(os.close, held[pid])
            still = meant() if held else ()
            for pid, fd in held.items():
                if pid in still:
                    send(fd, signal.SIGKILL)


def session(pid: int) -> int | None:
    """Return the session of a process, None if it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process, empty if it is gone or a thread of the kernel."""
    try:
        with Path(f"/proc/{pid}/cmdline").open("rb") as file:
            raw = file.read(_CMDLINE_BYTES_MAX)
    except OSError:
        return []
    return [os.fsdecode(argument) for argument in raw.rstrip(b"\0").split(b"\0")] if raw else []


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Yield pid and arguments of every process that can be read."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (arguments := command_line(int(entry.name))):
            yield int(entry.name), arguments


class Handle:
    """A pidfd, for waiting and killing. Owns it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def ended(self) -> None:
        """Return when the process has ended."""
        await wait_fd(self._fd)

    def kill(self) -> None:
        """Send SIGKILL."""
        send(self._fd, signal.SIGKILL)

    def close(self) -> None:
        """Give the pidfd back."""
        os.close(self._fd)


class Deaths:
    """Calls back once when a process ends. Owns the pidfd that it is given."""

    def __init__(self, fd: int, ended: Callable[[], None]) -> None:
        self.fd = fd
        self._ended = ended
        self._open = True
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def close(self) -> None:
        """Stop watching; the callback is not called any more."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self.fd)
            os.close(self.fd)

    def _readable(self) -> None:
        # The fd stays open until close: the owner may still want to send a signal and learn that it is too late.
        asyncio.get_running_loop().remove_reader(self.fd)
        self._ended()


async def wait_fd(fd: int) -> None:
    """Return when `fd` is readable; for a pidfd, when the process has ended."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def set_once() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(fd, set_once)
    try:
        await readable
    finally:
        loop.remove_reader(fd)


def boot_id() -> str:
    """Return what changes with every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _start_ticks(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else stat[1]


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the state letter and the start time. The name in the second field may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[_START_TIME_FIELD - 3])
