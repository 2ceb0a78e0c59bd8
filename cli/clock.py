"""The clocks of the command line. `services.kit.system` has them too, but loads asyncio: twice a command's start."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock in UTC."""
    return datetime.now(UTC)  # noqa: TID251 (the command line's seam)


def monotonic() -> float:
    """Return seconds since an arbitrary start."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Return after so many seconds."""
    time.sleep(seconds)  # noqa: TID251 (the command line's seam)


def request_id() -> str:
    """Return an id that was never used before, for a request that may be sent again."""
    return os.urandom(16).hex()
