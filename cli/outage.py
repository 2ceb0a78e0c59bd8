"""Going on when a daemon was away for a moment: containers outlive it, and so do the commands that follow one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cli import clock
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

AWAY_S_MAX = 10.0
POLL_S = 0.1
_REASONS = frozenset({"CONNECTION_LOST", "DAEMON_UNREACHABLE", "SHUTTING_DOWN", "CANCELLED", "UNAVAILABLE"})
"""The last is what a gateway says whose daemon died in the middle of a call."""


def is_outage(error: errors.BeeyardError) -> bool:
    """Say whether an error is about the way to the daemon, and may be over in a moment."""
    return error.reason in _REASONS


def retry(begin: Callable[[], T], error: errors.BeeyardError) -> T:
    """Return what `begin` returns when the daemon is back.

    Args:
        begin: Calls again. It must be harmless if the lost call was done after all.
        error: How the daemon was lost.

    Raises:
        errors.BeeyardError: `error`, if it stays away; or what it answers.
    """
    deadline = clock.monotonic() + AWAY_S_MAX
    while True:
        clock.sleep(POLL_S)
        try:
            return begin()
        except errors.BeeyardError as exc:
            if not is_outage(exc):
                raise
            if clock.monotonic() >= deadline:
                raise error from exc
