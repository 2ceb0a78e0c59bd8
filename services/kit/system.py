"""The real clock, randomness and identifiers. Imported by composition roots only: everything else takes a seam."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kit.seams import Rng

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE36_ID_LENGTH = 25  # 128 bits need 24.76 digits
_SHORT_ID_LENGTH = 12


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Return CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)  # noqa: TID251 (this is the seam)

    async def sleep(self, seconds: float, /) -> None:
        """Suspend the calling task."""
        await asyncio.sleep(seconds)


def system_rng() -> Rng:
    """Return a generator fed by the kernel."""
    return random.SystemRandom()


def new_hex_id() -> str:
    """Return 64 hexadecimal digits: the id of a container, network or layer.

    The first twelve are never all decimal: that short form is also used as a host name, and a name made of digits
    alone is read as a number by resolvers and YAML readers.
    """
    while (hex_id := secrets.token_hex(32))[:_SHORT_ID_LENGTH].isdecimal():
        pass
    return hex_id


def new_base36_id() -> str:
    """Return 25 digits of base 36 (128 random bits): the id of a cluster object."""
    number = secrets.randbits(128)
    digits: list[str] = []
    for _ in range(_BASE36_ID_LENGTH):
        number, digit = divmod(number, 36)
        digits.append(_BASE36[digit])
    return "".join(reversed(digits))
