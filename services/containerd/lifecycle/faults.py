"""Fault points: places at which a test can make the daemon die, to prove that recovery finds a way on from each.

`BEEYARD_FAULT=<point>` in the daemon's environment makes it kill itself (SIGKILL: no handler, no `finally`) when it
gets there; `<point>:<n>` when it gets there for the nth time. Without the variable a point costs one comparison. Only
tests set it.
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

EXEC_POINTS = (
    "exec.written",
    "exec.ready",
    "exec.begun",
    "exec.ended",
)
"""In the order in which an exec passes them."""

HEALTH_POINTS = (
    "health.started",
    "health.stop_recorded",
)
"""A check runs; what an unhealthy container gets is recorded and not done."""

COMMIT_POINTS = (
    "commit.frozen",
    "commit.made",
)
"""A container is held still for a commit; its image is made and nobody knows."""

CHECKPOINT_POINTS = (
    "checkpoint.recorded",
    "checkpoint.made",
    "checkpoint.named",
)
"""A checkpoint is about to be made; the runtime has made it; it is whole and nobody knows."""

VOLUME_POINTS = (
    "volume.recorded",
    "volume.made",
    "volume.filling",
    "volume.filled",
    "volume.received",
    "volume.installed",
    "volume.removing",
    "volume.deleted",
)
"""Making, filling, receiving and removing a volume."""

COPY_POINTS = (
    "cp.opened",
    "cp.packing",
    "cp.unpacking",
    "cp.unpacked",
)
"""In the order in which copies pass them. Nothing of a copy is recorded: a killed daemon leaves what was unpacked."""

_armed, _, _times = os.environ.get(VARIABLE, "").partition(":")
_left = int(_times or "1")


def reached(point: str) -> None:
    """Die here if the environment says so."""
    global _left
    if point == _armed:
        _left -= 1
        if not _left:
            os.kill(os.getpid(), signal.SIGKILL)
