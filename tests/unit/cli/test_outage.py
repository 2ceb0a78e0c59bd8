"""How long a daemon that is away is waited for."""

from __future__ import annotations

import pytest

from cli import clock, outage
from services.kit import errors

LOST = errors.Unavailable("lost", reason="CONNECTION_LOST")
DOWN = errors.Unavailable("down", reason="DAEMON_UNREACHABLE")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept; the clock goes on by that alone."""
    pauses: list[float] = []
    monkeypatch.setattr(clock, "sleep", pauses.append)
    monkeypatch.setattr(clock, "monotonic", lambda: sum(pauses))
    return pauses


def answers(*given: object) -> object:
    """Return a call that answers, or fails, in this order."""
    left = list(given)

    def begin() -> object:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return begin


def test_it_is_back_soon(slept: list[float]) -> None:
    assert outage.retry(answers(DOWN, DOWN, LOST, "here"), LOST) == "here"
    assert len(slept) == 4


def test_it_stays_away(slept: list[float]) -> None:
    with pytest.raises(errors.Unavailable, match=r"^lost$"):
        outage.retry(answers(DOWN), LOST)
    assert sum(slept) == pytest.approx(outage.AWAY_S_MAX, abs=2 * outage.POLL_S)


def test_what_it_answers_counts(slept: list[float]) -> None:
    with pytest.raises(errors.NotFound):
        outage.retry(answers(DOWN, errors.NotFound("no such container")), LOST)
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LOST, True),
        (DOWN, True),
        (errors.Unavailable("stops", reason="SHUTTING_DOWN"), True),
        (errors.NotFound("no such container", reason="CONTAINER_NOT_FOUND"), False),
        (errors.PermissionDenied("no", reason="SOCKET_PERMISSION_DENIED"), False),
    ],
)
def test_what_may_be_over_in_a_moment(error: errors.BeeyardError, expected: bool) -> None:
    assert outage.is_outage(error) is expected
