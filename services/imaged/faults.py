"""Points at which a test may kill the daemon, to see what its successor makes of what is left.

Off unless the environment says otherwise; a point that is off costs a dictionary look-up.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "BEEYARD_IMAGED_FAULT"
"""`NAME` or `NAME:N`: kill the process at the point NAME, the Nth time it is passed."""

POINTS = (
    "ingest.opened",
    "ingest.half_written",
    "ingest.before_rename",
    "ingest.after_rename",
    "snapshot.directory_made",
    "unpack.before_record",
    "unpack.after_record",
    "prepare.before_record",
    "remove.after_record",
    "image.before_record",
    "image.after_record",
    "gc.before_sweep",
    "gc.half_swept",
)

_armed, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = {_armed: int(_count or 1)} if _armed else {}
assert not _armed or _armed in POINTS, f"{VARIABLE} names the unknown point {_armed!r}"


def point(name: str) -> None:
    """Die here, as by kill -9, if this point is armed and has been passed often enough."""
    left = _left.get(name)
    if left is None:
        return
    _left[name] = left - 1
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
