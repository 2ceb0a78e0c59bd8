"""Pid files that survive the reuse of pids: each holds the pid and the process's start time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; None if there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else fields[19].decode()


def write(path: Path, pid: int) -> None:
    """Record a live process."""
    temporary = path.with_suffix(".pid-tmp")
    temporary.write_text(f"{pid} {start_time(pid) or ''}")
    temporary.rename(path)


def read(path: Path) -> int | None:
    """The recorded pid if exactly that process lives, else None."""
    try:
        pid, _, started = path.read_text().partition(" ")
    except OSError:
        return None
    return int(pid) if pid.isdigit() and started and start_time(int(pid)) == started else None


def end(path: Path, with_signal: signal.Signals, timeout_s: float) -> bool:
    """Signal the recorded process and wait for its end. True if it is gone."""
    pid = read(path)
    if pid is None:
        return True
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if read(path) == pid:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, with_signal)
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)
