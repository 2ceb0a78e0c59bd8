"""How soon a state is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from services.swarmd.agent.core.facts import (
    ACCEPTED,
    FAILED,
    PREPARING,
    READY,
    REJECTED,
    RUNNING,
    STARTING,
    Progress,
    State,
)
from services.swarmd.agent.reports import GATHER_S, PASSING_S, Reports, is_passing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "desired", "error", "passing"),
    [
        (ACCEPTED, RUNNING, "", True),
        (PREPARING, RUNNING, "", True),
        (PREPARING, RUNNING, "imaged does not answer", False),
        (READY, RUNNING, "", True),
        (READY, READY, "", False),
        (STARTING, RUNNING, "", True),
        (RUNNING, RUNNING, "", False),
        (FAILED, RUNNING, "exit 1", False),
        (REJECTED, READY, "no such image", False),
    ],
)
def test_only_what_a_task_passes_through_may_wait(
    state: State, desired: State, error: str, passing: bool
) -> None:
    assert is_passing(Progress(state=state, since=NOW, error=error), desired) is passing


class StillClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(0)


async def test_a_state_that_is_overtaken_is_told_once() -> None:
    clock = StillClock()
    reports = Reports(clock)
    reports.changed("a", passing=True)
    reports.changed("b", passing=True)
    clock.time = PASSING_S / 2
    reports.changed("a")
    clock.time += GATHER_S
    assert await reports.take(10) == ["a"], "it is no longer one to wait"
    clock.time = PASSING_S
    assert await reports.take(10) == ["b"]


async def test_what_has_to_be_told_now_is_not_put_off_by_what_may_wait() -> None:
    clock = StillClock()
    reports = Reports(clock)
    reports.changed("a")
    reports.changed("a", passing=True)
    clock.time = GATHER_S
    assert await reports.take(10) == ["a"]


async def test_a_call_carries_a_part_if_there_is_much() -> None:
    clock = StillClock()
    reports = Reports(clock)
    for name in "abc":
        reports.changed(name)
    clock.time = GATHER_S
    assert await reports.take(2) == ["a", "b"]
    assert await reports.take(2) == ["c"]


async def test_who_takes_waits_for_news() -> None:
    clock = StillClock()
    reports = Reports(clock)
    taking = asyncio.create_task(reports.take(10))
    await asyncio.sleep(0)
    assert not taking.done()
    reports.changed("a")
    clock.time = GATHER_S
    async with asyncio.timeout(5):
        assert await taking == ["a"]
