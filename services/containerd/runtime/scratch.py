"""Where conmon and the runtimes put what they need for a moment.

conmon makes a socket on which the runtime hands it the terminal, crun a file to mount its own program on. Left to
themselves they take /tmp, where what a killed one leaves stays, and nobody knows whose it was. Here it is ours.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from services.containerd.runtime import sharing

_TERMINAL = "conmon-term."
_SOCKET_PATH_BYTES_MAX = 107
_BOUND = Path("/proc/net/unix")


def environment(directory: Path) -> dict[str, str]:
    """Return the variables that make them use `directory`.

    Where the path of a socket in it would be too long for the kernel, sockets stay in /tmp.
    """
    variables = {"_LIBCONTAINER_STATEDIR": str(directory)}  # of crun; runc sets its own for what it starts
    if len(os.fsencode(directory / f"{_TERMINAL}XXXXXX")) <= _SOCKET_PATH_BYTES_MAX:
        variables["TMPDIR"] = str(directory)
    return variables


def clear(directory: Path, *, at_start: bool = False) -> int:
    """Remove what is in `directory` and used by no process; return how much that was.

    A socket is used while it is somebody's. A file of crun's is used for less than a millisecond, and a crun that
    loses it meanwhile takes another way. A conmon that loses the file which it replaces by its socket fails: those are
    left alone, but at the daemon's start, when no conmon is as young as that.
    """
    found = sorted(directory.iterdir())
    bound = _addresses() if found else frozenset()  # read last: who bound what was found, is in it
    removed = 0
    for path in found:
        if str(path) in bound if _is_socket(path) else path.name.startswith(_TERMINAL) and not at_start:
            continue
        sharing.unmount(path)
        path.unlink(missing_ok=True)
        removed += 1
    return removed


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _addresses() -> frozenset[str]:
    """Return what the unix sockets of our network namespace are bound to."""
    lines = _BOUND.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    return frozenset(words[7] for line in lines if len(words := line.split(" ", 7)) == 8)
