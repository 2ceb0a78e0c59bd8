"""What a failed call leads to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.kit import errors
from services.swarmd.agent.core.facts import FAILED, PREPARING, REJECTED, RUNNING, STARTING, Progress, State
from services.swarmd.agent.core.outcome import ATTEMPTS_MAX, FetchImage, GiveUp, LookAgain, Retry, judge
from services.swarmd.agent.core.step import Call, Create, Pull, Remove, Start, Stop

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_IMAGE = errors.NotFound("No such image: web:1", reason="IMAGE_NOT_FOUND")
AWAY = errors.Unavailable("connection refused")
NEIGHBOUR = errors.Unavailable("netd does not answer", reason="NEIGHBOUR_UNAVAILABLE")
REGISTRY = errors.Unavailable("registry.example does not answer", reason="REGISTRY_UNAVAILABLE")
FULL = errors.Exhausted("no space", reason="DISK_FULL")
BAD_START = errors.Invalid("no such program", reason="START_FAILED")
FILES_GONE = errors.FailedPrecondition(
    "the content of the file /k is gone", reason="START_FAILED", metadata={"cause": "FILES_GONE"}
)
GONE = errors.NotFound("no such container", reason="CONTAINER_NOT_FOUND")


def progress(state: State, message: str = "preparing", error: str = "") -> Progress:
    return Progress(state=state, since=NOW, message=message, error=error)


def test_a_missing_image_is_fetched_once() -> None:
    assert judge(Create(), NO_IMAGE, progress(PREPARING), attempt=0, pulled=False) == FetchImage()
    verdict = judge(Create(), NO_IMAGE, progress(PREPARING), attempt=0, pulled=True)
    assert isinstance(verdict, GiveUp)
    assert (verdict.end.state, verdict.end.error) == (REJECTED, "No such image: web:1")


def test_an_image_that_nobody_has_ends_the_task_with_the_reason() -> None:
    verdict = judge(Pull(), NO_IMAGE, progress(PREPARING), attempt=0, pulled=False)
    assert isinstance(verdict, GiveUp)
    assert verdict.end.error == "No such image: web:1"


@pytest.mark.parametrize("error", [AWAY, NEIGHBOUR])
@pytest.mark.parametrize(
    ("call", "state"), [(Pull(), PREPARING), (Create(), PREPARING), (Start(container_id="c"), STARTING)]
)
def test_no_task_fails_because_a_daemon_of_its_node_restarts(
    call: Call, state: State, error: errors.Unavailable
) -> None:
    verdict = judge(call, error, progress(state), attempt=1000, pulled=True)
    assert isinstance(verdict, Retry)
    assert verdict.daemon_away


def test_a_registry_that_is_away_is_given_up_in_the_end() -> None:
    first = judge(Pull(), REGISTRY, progress(PREPARING), attempt=0, pulled=False)
    assert isinstance(first, Retry)
    assert first.note is not None
    assert first.note.error == REGISTRY.message
    last = judge(Pull(), REGISTRY, progress(PREPARING), attempt=ATTEMPTS_MAX - 1, pulled=False)
    assert isinstance(last, GiveUp)


def test_the_same_trouble_is_noted_once() -> None:
    first = judge(Create(), AWAY, progress(PREPARING), attempt=0, pulled=True)
    assert isinstance(first, Retry)
    assert first.note is not None
    again = progress(PREPARING, first.note.message, first.note.error)
    second = judge(Create(), AWAY, again, attempt=1, pulled=True)
    assert second == Retry(note=None, daemon_away=True)


@pytest.mark.parametrize(
    ("call", "state", "error", "end"),
    [
        (Create(), PREPARING, FULL, REJECTED),
        (Start(container_id="c"), STARTING, BAD_START, FAILED),
        (Start(container_id="c"), STARTING, FULL, FAILED),
    ],
)
def test_what_trying_again_does_not_mend_ends_the_task(
    call: Call, state: State, error: errors.BeeyardError, end: State
) -> None:
    verdict = judge(call, error, progress(state), attempt=0, pulled=True)
    assert isinstance(verdict, GiveUp)
    assert (verdict.end.state, verdict.end.error) == (end, error.message)


@pytest.mark.parametrize("call", [Stop(container_id="c"), Remove(container_id="c")])
def test_an_end_is_pursued_whatever_happens(call: Call) -> None:
    assert isinstance(judge(call, FULL, progress(RUNNING), attempt=50, pulled=True), Retry)
    assert judge(call, GONE, progress(RUNNING), attempt=0, pulled=True) == LookAgain()


def test_a_task_whose_secrets_went_with_the_machine_is_given_up_at_once() -> None:
    """The swarm makes a new one, which gets them again; trying this one again would never end."""
    verdict = judge(Start(container_id="c"), FILES_GONE, progress(STARTING), attempt=0, pulled=True)
    assert isinstance(verdict, GiveUp)
    assert (verdict.end.state, verdict.end.error) == (FAILED, FILES_GONE.message)
