"""Keeping conmon from waiting for somebody who takes no input, and from running in circles over one who never will.

conmon writes what a user types to the terminal's master. For an exec, versions before 2.2 do so with calls that block:
while nobody reads there, conmon neither passes on output nor sees its process end, and sometimes it never wakes again
(the kernel wakes it before it counts the other side as closed). It copes with a master that does not block, as that of
a container's own process is, so that is what it is given.

A process that closes its terminal, or the pipe that is its standard input, and lives on leaves one that nobody will
ever read. Then poll tells conmon at once of the hang-up instead of waiting for room, writing fails, and conmon tries
again for ever, at the cost of a processor. While somebody else has the other side open there is no hang-up, and conmon
waits. That somebody is the daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import processes, syscalls
from services.kit import log

if TYPE_CHECKING:
    from services.containerd.model.status import ProcessRef

_TIOCGPTPEER = 0x5441
_MASTER = os.makedev(5, 2)
"""/dev/ptmx, by whatever name it was opened."""
_log = log.get(__name__)


def hold(conmon: ProcessRef) -> list[int]:
    """Open the other side of what a conmon writes input to, and make a terminal's master non-blocking.

    Returns:
        Descriptors to be kept until the process has ended; none where that cannot be: things stay as before then.
    """
    others: list[int] = []
    held = processes.open_fd(conmon)
    if held is None:
        return others
    try:
        for number in _candidates(conmon.pid):
            end = syscalls.pidfd_getfd(held, number)
            try:
                others += _other_side(end)
            finally:
                os.close(end)
    except ProcessLookupError:
        pass
    except OSError as exc:
        _log.warning("input_may_block", conmon=conmon.pid, error=str(exc))
    finally:
        os.close(held)
    return others


def _other_side(end: int) -> list[int]:
    flags = fcntl.fcntl(end, fcntl.F_GETFL)
    if stat.S_ISFIFO(os.fstat(end).st_mode):
        if flags & os.O_ACCMODE != os.O_WRONLY:
            return []  # the process's output
        return [os.open(f"/proc/self/fd/{end}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)]
    fcntl.fcntl(end, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    return [fcntl.ioctl(end, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)]


def _candidates(pid: int) -> list[int]:
    """Return the descriptors of a process, as far as it still has them, that are masters or pipes without a name."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # it has just ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just closed this one
                if entry.stat().st_rdev == _MASTER or str(entry.readlink()).startswith("pipe:["):
                    found.append(int(entry.name))
    return found
