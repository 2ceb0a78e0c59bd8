"""What the failure of a call means for the task: try again, fetch the image, or give up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

from services.kit import errors
from services.swarmd.agent.core.step import Advance, Call, Create, Pull, Remove, Start, Stop, failure

if TYPE_CHECKING:
    from services.swarmd.agent.core.facts import Progress

ATTEMPTS_MAX = 6
"""Tries against something outside of this node (a registry, a peer) before the task is given up."""

# A daemon of this node that is being restarted looks like this. It comes back, and no task may fail for it.
_LOCAL_REASONS = frozenset(
    {"UNAVAILABLE", "NEIGHBOUR_UNAVAILABLE", "SHUTTING_DOWN", "CANCELLED", "DEADLINE_EXCEEDED"}
)


@dataclass(frozen=True, slots=True)
class FetchImage:
    """The image is not on the node: pull it, then go on."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The container is not as we thought: ask containerd how it is, then go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try the same call again after a pause; the note is what people see meanwhile."""

    note: Advance | None
    daemon_away: bool
    """The other side is a daemon of this node that does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nothing that we can do mends it."""

    end: Advance


Verdict: TypeAlias = FetchImage | LookAgain | Retry | GiveUp


def judge(
    call: Call, error: errors.BeeyardError, progress: Progress, *, attempt: int, pulled: bool
) -> Verdict:
    """Return what follows from a failed call.

    Args:
        call: What was tried.
        error: How it failed.
        progress: The task's record.
        attempt: Failures of this kind of call in a row before this one.
        pulled: The image was pulled since the task was first seen: that it is missing is then final.
    """
    match call:
        case Create() if error.reason == "IMAGE_NOT_FOUND" and not pulled:
            return FetchImage()
        case Start() | Stop() | Remove() if error.reason in {"CONTAINER_NOT_FOUND", "CONTAINER_NOT_RUNNING"}:
            return LookAgain()
        case Stop() | Remove():
            # An end that was asked for is pursued until it is reached; there is no state to give up into.
            return _retry(error, progress, doing="stopping" if isinstance(call, Stop) else "removing")
        case Pull() | Create() | Start():
            local = isinstance(error, errors.Unavailable) and error.reason in _LOCAL_REASONS
            if local or (error.retryable and attempt + 1 < ATTEMPTS_MAX):
                return _retry(error, progress, doing=progress.message.partition(":")[0] or "waiting")
            return GiveUp(end=failure(progress.state, error.message, progress.container))
        case _:
            assert_never(call)


def _retry(error: errors.BeeyardError, progress: Progress, *, doing: str) -> Retry:
    """Return a retry whose note is given only if it says something new: a note costs a write and a report."""
    away = isinstance(error, errors.Unavailable) and error.reason in _LOCAL_REASONS
    message = f"{doing}: trying again"
    note = None
    if (progress.message, progress.error) != (message, error.message):
        note = Advance(
            state=progress.state, message=message, error=error.message, container=progress.container
        )
    return Retry(note=note, daemon_away=away)
