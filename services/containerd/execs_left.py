"""What a daemon that is gone has left of its execs: directories, which go when their conmon has ended.

The processes run on, as their container does; an exec that was being started when the daemon died starts all the same,
because conmon takes the end of its pipes for leave to begin. Nobody can be told how they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.runtime import conmon_exec
from services.kit import log

if TYPE_CHECKING:
    from pathlib import Path

    from services.containerd.runtime.layout import Layout
    from services.kit.tasks import Supervisor

LOOKS = 10
LOOK_S = 0.5
_log = log.get(__name__)


def clear(layout: Layout, supervisor: Supervisor) -> None:
    """Remove the directories of execs that have ended, and see to those that run. Before one is started."""
    directories = [
        directory
        for bundle in _entries(layout.bundles)
        for directory in _entries(bundle / conmon_exec.DIRECTORY)
    ]
    if not directories:
        return
    monitors: dict[str, list[int]] = {}
    for pid, arguments in processes.command_lines():
        if (path := conmon_exec.directory_of(arguments)) is not None:
            monitors.setdefault(path, []).append(pid)
    running = 0
    for directory in directories:
        fds = [fd for pid in monitors.get(str(directory), ()) if (fd := _hold(pid)) is not None]
        if fds:
            running += 1
            supervisor.spawn(_remove_after(directory, fds), f"exec {directory.name[:12]}", critical=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    _log.info("execs_left", found=len(directories), running=running)


async def remove_when_ended(directory: Path) -> None:
    """Remove the directory of an exec whose start was given up, when its conmon, that writes there, has ended.

    One that is just becoming conmon is found by no name for a moment, and writes after the first look.
    """
    for _ in range(LOOKS):
        while fds := await asyncio.to_thread(_hold_all, str(directory)):
            await _ended(fds)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await asyncio.sleep(LOOK_S)
        if not directory.exists():
            return


def _hold_all(directory: str) -> list[int]:
    """Return pidfds of what works in a directory: conmon, or what is about to become it."""
    found = [pid for pid, arguments in processes.command_lines() if directory in arguments]
    return [fd for pid in found if (fd := _hold(pid)) is not None]


def _entries(directory: Path) -> list[Path]:
    """Return what is in a directory; runs are taken down at the same time."""
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _hold(pid: int) -> int | None:
    process = processes.reference(pid)
    return processes.open_fd(process) if process is not None else None


async def _remove_after(directory: Path, fds: list[int]) -> None:
    """Wait for all processes (a conmon that is just starting is two), then remove."""
    await _ended(fds)
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _ended(fds: list[int]) -> None:
    """Return when all processes have ended; closes the pidfds."""
    with contextlib.ExitStack() as opened:
        for fd in fds:
            opened.callback(os.close, fd)
        for fd in fds:
            await processes.wait_fd(fd)
