"""When a certificate is renewed. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.kit.seams import Rng

EARLIEST: Final = 0.5
LATEST: Final = 0.8
"""Between these parts of its life a certificate is renewed, each node at a moment of its own."""
WARNING_PART: Final = 0.25
"""When less than this part of its life is left, something has kept the renewal from happening."""


def due(not_before: datetime, not_after: datetime, rng: Rng) -> datetime:
    """Return when to renew a certificate."""
    life = not_after - not_before
    return not_before + life * rng.uniform(EARLIEST, LATEST)


def endangered(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Return whether a certificate should have been renewed long ago."""
    return not_after - now < (not_after - not_before) * WARNING_PART


def expired(not_after: datetime, now: datetime, *, margin: timedelta = timedelta()) -> bool:
    """Return whether a certificate cannot be used any more, or will be in `margin`."""
    return now + margin >= not_after
