"""Ending health checks by force: those that are late or cancelled, and those that the last daemon has left running."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.lifecycle.bring_up import cgroup_path
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.containerd.cgroups.control import Control
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Record

_log = log.get(__name__)

ROUNDS_MAX = 20
_POLL_S = 0.01


async def kill_session(control: Control, cgroup: str, pid: int) -> None:
    """Kill a process of a container with everything in its session. What makes itself a session of its own lives on.

    Bounded: what the kernel does not let go of is left after some rounds.
    """
    session = processes.session(pid) or pid
    for _ in range(ROUNDS_MAX):
        members = _in_session(control, cgroup, session)
        if not members:
            return
        processes.kill_those(members, functools.partial(_in_session, control, cgroup, session))
        await asyncio.sleep(_POLL_S)


def _in_session(control: Control, cgroup: str, session: int) -> list[int]:
    return [member for member in control.processes(cgroup) if processes.session(member) == session]


def _still(pid: int, arguments: list[str]) -> list[int]:
    return [pid] if processes.command_line(pid) == arguments else []


def read_pid(pidfile: Path) -> int | None:
    """Return the pid of a check, None while the runtime has not written it."""
    try:
        return int(pidfile.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


async def put_down_left(machine: Machine, control: Control, records: Iterable[Record]) -> None:
    """Kill the checks that the last daemon has left: nobody waits for their results."""
    pidfiles: dict[str, Record] = {}
    for record in records:
        bundle = machine.layout.bundle(record.id)
        if bundle.health.is_dir():
            pidfiles[f"--pid-file={bundle.health_pidfile}"] = record
    if not pidfiles:
        return
    for runtime, arguments in processes.command_lines():
        found = [pidfiles[word] for word in arguments if word in pidfiles]
        if not found:
            continue
        record = found[0]
        cgroup = cgroup_path(record, machine.cgroup_parent)
        pid = read_pid(machine.layout.bundle(record.id).health_pidfile)
        if pid is not None and pid in control.processes(cgroup):
            await kill_session(control, cgroup, pid)
        processes.kill_those([runtime], functools.partial(_still, runtime, arguments))
        _log.info("health_check_put_down", container=record.id)
