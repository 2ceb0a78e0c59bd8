"""Fault points: places at which a test can make the daemon die, to prove that recovery finds a way on from each.

`BEEYARD_FAULT=<point>` in the daemon's environment makes it kill itself (SIGKILL: no handler, no `finally`) when it
gets there. Without the variable a point costs one comparison. Only tests set it.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "BEEYARD_FAULT"

POINTS = (
    "create.recorded",
    "create.prepared",
    "create.done",
    "start.recorded",
    "start.sandbox",
    "start.mounted",
    "start.bundled",
    "start.created",
    "start.running_recorded",
    "start.ignited",
    "stop.recorded",
    "stop.signalled",
    "exit.recorded",
    "exit.deleted",
    "exit.unmounted",
    "exit.sandbox",
    "exit.cleaned",
    "remove.recorded",
    "remove.snapshot",
    "remove.directory",
    "remove.forgotten",
)
"""In the order in which a container's life passes them."""

_armed = os.environ.get(VARIABLE, "")


def reached(point: str) -> None:
    """Die here if the environment says so."""
    if point == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
