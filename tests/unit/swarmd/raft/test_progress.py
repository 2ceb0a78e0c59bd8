"""What a leader knows of a follower: the automaton as a table, and the flight against a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarmd.raft.core.progress import Inflights, Pace, Progress
from services.swarmd.raft.core.types import Entry


def progress(pace: Pace, *, match: int = 0, next_index: int = 1, flight: int = 2) -> Progress:
    made = Progress(next_index=next_index, match=match, inflights=Inflights(flight, 1 << 20))
    if pace is Pace.REPLICATE:
        made.replicate()
        made.next = next_index
    elif pace is Pace.SNAPSHOT:
        made.send_snapshot(10)
    return made


def is_full(flight: Inflights) -> bool:
    return flight.full


def entries(first: int, count: int = 1) -> list[Entry]:
    return [Entry(at, 1) for at in range(first, first + count)]


def test_a_probe_waits_for_its_answer() -> None:
    probing = progress(Pace.PROBE, next_index=5)
    probing.sent(entries(5, 3))
    assert probing.paused
    assert probing.next == 5, "what agrees is not known, so nothing is sent ahead"
    probing.answered_heartbeat()
    assert not probing.paused


def test_replicate_sends_ahead_until_the_flight_is_full() -> None:
    replicating = progress(Pace.REPLICATE, match=4, next_index=5)
    replicating.sent(entries(5, 2))
    assert (replicating.next, replicating.paused) == (7, False)
    replicating.sent(entries(7))
    assert (replicating.next, replicating.paused) == (8, True)
    assert replicating.accepted(6)
    replicating.inflights.free_to(6)
    assert not replicating.paused


def test_an_empty_append_is_no_message_in_flight() -> None:
    replicating = progress(Pace.REPLICATE, next_index=5)
    replicating.sent([])
    assert len(replicating.inflights) == 0


def test_nothing_is_sent_while_a_snapshot_is_under_way() -> None:
    assert progress(Pace.SNAPSHOT).paused


@pytest.mark.parametrize(
    ("pace", "match", "next_index", "index", "news", "after"),
    [
        (Pace.PROBE, 3, 5, 4, True, (4, 5)),
        (Pace.PROBE, 3, 5, 7, True, (7, 8)),
        (Pace.PROBE, 3, 5, 3, False, (3, 5)),
        (Pace.PROBE, 3, 5, 2, False, (3, 5)),
        (Pace.REPLICATE, 3, 9, 5, True, (5, 9)),
    ],
)
def test_accepted(
    pace: Pace, match: int, next_index: int, index: int, news: bool, after: tuple[int, int]
) -> None:
    made = progress(pace, match=match, next_index=next_index)
    assert made.accepted(index) is news
    assert (made.match, made.next) == after


@pytest.mark.parametrize(
    ("pace", "match", "next_index", "index", "hint", "news", "next_after"),
    [
        (Pace.REPLICATE, 5, 10, 5, 5, False, 10),  # stale: that much is known to agree
        (Pace.REPLICATE, 5, 10, 4, 4, False, 10),
        (Pace.REPLICATE, 5, 10, 9, 9, True, 6),
        (Pace.PROBE, 0, 0, 0, 0, False, 0),  # not about the last append
        (Pace.PROBE, 0, 10, 5, 5, False, 10),
        (Pace.PROBE, 0, 10, 9, 9, True, 9),
        (Pace.PROBE, 0, 10, 9, 2, True, 3),
        (Pace.PROBE, 0, 2, 1, 0, True, 1),
        (Pace.PROBE, 4, 10, 9, 1, True, 5),  # never below what is known to agree
    ],
)
def test_refused(
    pace: Pace, match: int, next_index: int, index: int, hint: int, news: bool, next_after: int
) -> None:
    made = progress(pace, match=match, next_index=next_index)
    assert made.refused(index, hint) is news
    assert made.next == next_after


@pytest.mark.parametrize(("match", "next_after"), [(3, 11), (20, 21)])
def test_after_a_snapshot_it_goes_on_from_there(match: int, next_after: int) -> None:
    made = progress(Pace.SNAPSHOT, match=match)
    made.probe()
    assert (made.pace, made.next) == (Pace.PROBE, next_after)


def test_after_a_failed_snapshot_it_begins_where_it_was() -> None:
    made = progress(Pace.SNAPSHOT, match=3)
    made.probe_from_match()
    assert (made.pace, made.next) == (Pace.PROBE, 4)


@pytest.mark.parametrize("pace", list(Pace))
def test_a_change_of_pace_empties_the_flight(pace: Pace) -> None:
    made = progress(Pace.REPLICATE, next_index=5)
    made.sent(entries(5))
    match pace:
        case Pace.PROBE:
            made.probe()
        case Pace.REPLICATE:
            made.replicate()
        case Pace.SNAPSHOT:
            made.send_snapshot(9)
    assert len(made.inflights) == 0
    assert not made.waiting


def test_the_message_that_crosses_the_limit_of_bytes_still_goes() -> None:
    flight = Inflights(100, 1000)
    flight.add(1, 999)
    assert not flight.full
    flight.add(2, 999)
    assert is_full(flight)
    flight.free_to(1)
    assert not is_full(flight)


@given(
    st.integers(1, 5),
    st.integers(1, 50),
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 30)), st.tuples(st.just("free"), st.integers(0, 40))
        )
    ),
)
def test_the_flight_is_a_list(messages_max: int, bytes_max: int, steps: list[tuple[str, int]]) -> None:
    flight, dumb, last = Inflights(messages_max, bytes_max), list[tuple[int, int]](), 0
    for kind, number in steps:
        if kind == "free":
            flight.free_to(number)
            dumb = [(index, size) for index, size in dumb if index > number]
        elif not flight.full:
            last += 1
            flight.add(last, number)
            dumb.append((last, number))
        assert len(flight) == len(dumb)
        assert flight.full == (len(dumb) >= messages_max or sum(size for _, size in dumb) >= bytes_max)
