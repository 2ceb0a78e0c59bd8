"""Refusals of the automaton as errors for the caller: what is the matter, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.lifecycle.messages import Refusal
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.lifecycle.messages import Failure

_TEXTS = {
    Refusal.RUNNING: "it is running: stop it first, or use force",
    Refusal.NOT_RUNNING: "it is not running",
    Refusal.PAUSED: "it is paused: unpause it first",
    Refusal.ALREADY_PAUSED: "it is already paused",
    Refusal.NOT_PAUSED: "it is not paused",
    Refusal.REMOVING: "it is being removed",
    Refusal.DEAD: "a removal of it has failed half-way: it can only be removed",
    Refusal.STOPPED: "it was stopped meanwhile",
    Refusal.HELD: "it is held while it is moved to another node (`swarmctl container move`)",
    Refusal.NO_HEALTHCHECK: "it has no health check",
    Refusal.CHECKPOINTING: "a checkpoint of it is being made",
    Refusal.UNKILLABLE: "a process of it does not die from SIGKILL: the kernel holds it, perhaps in I/O",
}


def error(name: str, refusal: Refusal, failure: Failure | None) -> errors.BeeyardError:
    """Return the error that a caller gets."""
    cause = failure.error if failure is not None else None
    if failure is None:
        return errors.FailedPrecondition(f"container {name}: {_TEXTS[refusal]}", reason=refusal.value)
    if refusal is Refusal.START_FAILED:
        return errors.FailedPrecondition(
            f"cannot start container {name}: {failure.message}",
            reason=refusal.value,
            metadata={"exit_code": str(failure.exit_code), **(_cause(cause))},
        )
    if isinstance(cause, errors.BeeyardError):
        return cause
    return errors.Internal(f"container {name}: {failure.message}", reason=refusal.value)


def _cause(error_: BaseException | None) -> dict[str, str]:
    """Return the reason beneath a failed start: PORT_IN_USE is worth knowing to a program."""
    return {"cause": error_.reason} if isinstance(error_, errors.BeeyardError) else {}
