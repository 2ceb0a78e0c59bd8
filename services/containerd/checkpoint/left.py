"""Checkpoints that a daemon has left in the middle. The runtime and CRIU go on without it, and end the processes.

So the next daemon waits for them before it looks at anything, and gives what CRIU says is whole its name.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from services.containerd.checkpoint import store
from services.containerd.kernel import processes
from services.kit import log

if TYPE_CHECKING:
    from pathlib import Path

    from services.containerd.runtime.layout import Bundle

_log = log.get(__name__)

WAIT_S_MAX: Final = 60.0
"""The daemon does not start before."""
DUMP_LOG: Final = "dump.log"
_IMAGES: Final = "images"
_WHOLE: Final = b"Dumping finished successfully"
_TAIL_BYTES: Final = 4096


def work(bundle: Bundle) -> Path:
    """Return where CRIU works."""
    return bundle.path / "criu"


def note(bundle: Bundle, partial: Path) -> None:
    """Write down where a checkpoint is being made. Blocks."""
    place = work(bundle)
    place.mkdir(mode=0o700, exist_ok=True)
    (place / DUMP_LOG).unlink(missing_ok=True)
    forget(bundle)
    (place / _IMAGES).symlink_to(partial)


def forget(bundle: Bundle) -> None:
    """It is made, or was not. Blocks."""
    (work(bundle) / _IMAGES).unlink(missing_ok=True)


async def settle(bundle: Bundle) -> None:
    """Bring a checkpoint that was being made to its end."""
    place = work(bundle)
    if not (place / _IMAGES).is_symlink():
        return
    for pid, arguments in processes.command_lines():
        if f"--work-path={place}" in arguments:
            try:
                async with asyncio.timeout(WAIT_S_MAX):
                    await _ended(pid)
            except TimeoutError:
                _log.warning("checkpoint_under_way", directory=str(place), pid=pid)
                return
    await asyncio.to_thread(_finish, place)
    await asyncio.to_thread(forget, bundle)


async def _ended(pid: int) -> None:
    """Return when a process has ended, which is no child of ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await processes.wait_fd(fd)
    finally:
        os.close(fd)


def _finish(place: Path) -> None:
    path = store.named((place / _IMAGES).readlink())
    whole = _is_whole(place / DUMP_LOG)
    try:
        if whole:
            store.complete(path)
        else:
            store.discard(path)
    except FileNotFoundError:
        return  # it has its name
    except OSError as exc:
        _log.warning("checkpoint_not_finished", checkpoint=str(path), error=str(exc))
        return
    _log.info("checkpoint_finished", checkpoint=str(path), whole=whole)


def _is_whole(dump_log: Path) -> bool:
    try:
        with dump_log.open("rb") as opened:
            opened.seek(max(os.fstat(opened.fileno()).st_size - _TAIL_BYTES, 0))
            return _WHOLE in opened.read()
    except FileNotFoundError:
        return False  # it was not begun
