"""Keeping conmon from waiting for a terminal that takes no input.

conmon writes what a user types to the terminal's master. For an exec, versions before 2.2 do so with calls that block:
while nobody reads there, conmon neither passes on output nor sees its process end, and sometimes it never wakes again
(the kernel wakes it before it counts the other side as closed). It copes with a master that does not block, as that of
a container's own process is, so that is what it is given.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import processes, syscalls
from services.kit import log

if TYPE_CHECKING:
    from services.containerd.model.status import ProcessRef

_MASTER = os.makedev(5, 2)
"""/dev/ptmx, by whatever name it was opened."""
_log = log.get(__name__)


def never_block(conmon: ProcessRef) -> None:
    """Make the terminal's master that a conmon holds non-blocking. Where that cannot be, things stay as before."""
    held = processes.open_fd(conmon)
    if held is None:
        return
    try:
        for number in _masters(conmon.pid):
            master = syscalls.pidfd_getfd(held, number)
            try:
                flags = fcntl.fcntl(master, fcntl.F_GETFL)
                fcntl.fcntl(master, fcntl.F_SETFL, flags | os.O_NONBLOCK)
            finally:
                os.close(master)
    except ProcessLookupError:
        return
    except OSError as exc:
        _log.warning("terminal_may_block", conmon=conmon.pid, error=str(exc))
    finally:
        os.close(held)


def _masters(pid: int) -> list[int]:
    """Return the descriptors of a process that are masters of terminals, as far as it still has them."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # it has just ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just closed this one
                if entry.stat().st_rdev == _MASTER:
                    found.append(int(entry.name))
    return found
