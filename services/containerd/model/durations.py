"""How long anything that was asked for may take: what is added to a time must stay a time. Pure."""

from __future__ import annotations

from services.kit import errors

MAX_S = 9_223_372_036.0
"""Docker's limit, 63 bits of nanoseconds: 292 years."""


def check(what: str, seconds: float) -> None:
    """Refuse a duration that is too long to be added to a time.

    Raises:
        errors.Invalid: DURATION_TOO_LONG.
    """
    if abs(seconds) > MAX_S:
        raise errors.Invalid(f"{what} is longer than 292 years", reason="DURATION_TOO_LONG")


def bounded(seconds: float) -> float:
    """Return a duration that an image or an older record brings, cut to what can be added to a time."""
    return max(-MAX_S, min(seconds, MAX_S))
