"""Freeing a container that cannot die because an exec's monitor does not look.

A pid namespace ends when each of its processes was reaped; what an exec has started is reaped by the exec's conmon,
which is outside. One that is blocked (it writes to a terminal that nobody reads) keeps the killed container for ever.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.runtime import conmon, conmon_exec

if TYPE_CHECKING:
    from services.containerd.model.status import Run
    from services.containerd.runtime.layout import Layout

PATIENCE_S = 1.0
"""How long a killed init may take before the monitors of execs are killed."""


def free(run: Run, layout: Layout) -> int:
    """Kill the monitors of a container's execs if its init has not gone yet; return how many."""
    if not _is_left(run):
        return 0
    container_id = conmon.container_of(processes.command_line(run.conmon.pid), layout.exits)
    if container_id is None:
        return 0
    below = f"{layout.bundle(container_id).path}/{conmon_exec.DIRECTORY}/"
    monitors = [
        process
        for pid, arguments in processes.command_lines()
        if (conmon_exec.directory_of(arguments) or "").startswith(below)
        and (process := processes.reference(pid)) is not None
    ]
    return sum(processes.kill(process) for process in monitors)


def _is_left(run: Run) -> bool:
    fd = processes.open_fd(run.init)
    if fd is None:
        return False
    try:
        return not select.select([fd], [], [], 0)[0]
    finally:
        os.close(fd)
