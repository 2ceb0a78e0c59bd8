"""Sessions and heartbeats on virtual time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.swarmd.dispatcher.core.sessions import (
    MISSED_MAX,
    PERIOD_DEFAULT_S,
    REGISTRATIONS_MAX,
    REGISTRATIONS_WINDOW_S,
    TAKEOVER_FACTOR,
    Sessions,
)

GRACE_S = MISSED_MAX * PERIOD_DEFAULT_S
TICK_S = 0.2


def sessions() -> Sessions:
    return Sessions(rng=random.Random(1))


def expired_at(core: Sessions, start: float, until: float) -> dict[str, float]:
    """Let time pass as the shell does; return when each node went down."""
    down: dict[str, float] = {}
    now = start
    while now <= until:
        down |= dict.fromkeys(core.expire(now), now)
        now += TICK_S
    return down


def test_a_silent_node_is_down_after_three_periods_and_only_once() -> None:
    core = sessions()
    core.open("n", "s", 100.0)
    down = expired_at(core, 100.0, 200.0)
    assert set(down) == {"n"}
    assert GRACE_S <= down["n"] - 100.0 <= GRACE_S + 2 * TICK_S


def test_a_node_that_beats_stays_up() -> None:
    core = sessions()
    core.open("n", "s", 0.0)
    now = due = 0.0
    while now < 60.0:
        if now >= due:
            due = now + core.beat("n", "s", now)
        assert core.expire(now) == []
        now += TICK_S
    assert core.is_up("n")


def test_three_heartbeats_fit_before_the_deadline() -> None:
    core = sessions()
    assert all(core.next_beat_s() * MISSED_MAX <= GRACE_S for _ in range(1000))


def test_a_new_leader_waits_twice_as_long() -> None:
    core = sessions()
    core.take_over(["n", "m"], 0.0)
    core.open("m", "s", 1.0)
    down = expired_at(core, 0.0, 30.0)
    assert TAKEOVER_FACTOR * GRACE_S <= down["n"] <= TAKEOVER_FACTOR * GRACE_S + 2 * TICK_S
    assert down["m"] < down["n"]


def test_a_node_that_is_waited_for_is_not_up() -> None:
    core = sessions()
    core.take_over(["n"], 0.0)
    assert not core.is_up("n")
    assert not core.is_current("n", "")


def test_a_newer_session_replaces_the_older() -> None:
    core = sessions()
    core.open("n", "old", 0.0)
    core.open("n", "new", 1.0)
    core.beat("n", "new", 2.0)
    with pytest.raises(errors.FailedPrecondition) as caught:
        core.beat("n", "old", 2.0)
    assert caught.value.reason == "SESSION_UNKNOWN"


def test_a_node_that_was_down_needs_a_new_session() -> None:
    core = sessions()
    core.open("n", "s", 0.0)
    expired_at(core, 0.0, 20.0)
    with pytest.raises(errors.FailedPrecondition):
        core.beat("n", "s", 21.0)
    core.open("n", "t", 22.0)
    assert core.is_up("n")


def test_sessions_cannot_be_opened_without_end() -> None:
    core = sessions()
    for number in range(REGISTRATIONS_MAX):
        core.open("n", f"s{number}", float(number))
    with pytest.raises(errors.Exhausted):
        core.open("n", "one-too-many", 3.0)
    core.open("other", "s", 3.0)
    core.open("n", "later", REGISTRATIONS_WINDOW_S + 0.1)


def test_a_leader_that_was_stopped_blames_nobody() -> None:
    core = sessions()
    core.open("n", "s", 0.0)
    assert core.expire(0.2) == []
    assert core.expire(100.0) == [], "it was us who were away"
    assert core.expire(101.0) == []
    down = expired_at(core, 101.2, 120.0)
    assert down["n"] - 100.0 == pytest.approx(GRACE_S, abs=0.5)


def test_a_removed_node_is_not_missed() -> None:
    core = sessions()
    core.open("n", "s", 0.0)
    core.forget("n")
    assert expired_at(core, 0.0, 20.0) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("open", "beat", "tick"))), max_size=60))
def test_a_node_goes_down_only_after_its_silence(steps: list[tuple[str, str]]) -> None:
    core, now, heard, number = sessions(), 0.0, dict[str, float](), 0
    for node, what in steps:
        now += 0.9
        try:
            if what == "open":
                number += 1
                core.open(node, f"{node}{number}", now)
                heard[node] = now
            elif what == "beat":
                core.beat(node, f"{node}{number}", now)
                heard[node] = now
        except errors.BeeyardError:
            pass
        for expired in core.expire(now):
            assert now - heard[expired] >= GRACE_S
