"""One process per directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIES_MAX = 25
_PAUSE_S = 0.02


@contextlib.contextmanager
def exclusive(path: Path, owner: str) -> Iterator[None]:
    """Hold the lock file at `path` for the duration of the block.

    The kernel releases the lock when the process ends in any way; programs that the process starts do not inherit it.
    A child that was between fork and exec when its parent was killed holds it for a moment longer, and so it is tried
    for half a second.

    Args:
        path: The lock file; made if missing, never removed (who waits for a removed file's lock would share nothing).
        owner: What holds it, for the message to a second one.

    Raises:
        errors.FailedPrecondition: Another process holds it (ALREADY_RUNNING); the message has its pid.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not any(_take(fd) for _ in range(TRIES_MAX)):
            pid = os.read(fd, 32).decode(errors="replace").strip()
            raise errors.FailedPrecondition(
                f"another {owner} (pid {pid or 'unknown'}) uses {path.parent}: stop it, or choose another root",
                reason="ALREADY_RUNNING",
                metadata={"pid": pid},
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    """Take the lock, or wait a moment."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        threading.Event().wait(_PAUSE_S)
        return False
    return True
