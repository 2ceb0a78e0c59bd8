"""One order of time for what several daemons tell, and who of them is asked."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import event_streams
from cli.event_order import HELD_MAX, HOLD_S, Order


def test_nothing_is_given_before_every_past_is_complete() -> None:
    order = Order[str](["a", "b"])
    order.add("a", 5, "a5", 0.0)
    order.caught_up("a")
    assert order.due(99.0) == []
    assert order.wait_s(99.0) is None, "only what comes can change that"
    order.add("b", 3, "b3", 99.0)
    order.add("b", 7, "b7", 99.0)
    order.caught_up("b")
    assert order.due(99.0) == ["b3", "a5", "b7"]


def test_what_is_live_waits_for_something_earlier_but_not_for_long() -> None:
    order = Order[str]()
    order.add("a", 5, "start", 10.0)
    assert order.due(10.0) == []
    assert order.wait_s(10.0) == pytest.approx(HOLD_S)
    order.add("b", 4, "connect", 10.0 + HOLD_S / 2)
    assert order.due(10.0 + HOLD_S) == ["connect", "start"], "what is earlier goes with it"
    order.add("a", 6, "die", 11.0)
    assert order.rest() == ["die"]
    assert order.wait_s(11.0) is None


def test_a_source_that_never_catches_up_does_not_fill_the_memory() -> None:
    order = Order[int](["silent", "loud"])
    for number in range(HELD_MAX + 1):
        order.add("loud", number, number, 0.0)
    assert len(order.due(0.0)) == HELD_MAX + 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=40))
def test_a_replay_is_sorted_and_stable(told: list[tuple[str, int]]) -> None:
    order = Order[tuple[int, int]]("abc")
    for number, (source, at_ns) in enumerate(told):
        order.add(source, at_ns, (at_ns, number), float(number))
    for source in "abc":
        order.caught_up(source)
    assert order.due(len(told) + 1.0) == sorted((at_ns, number) for number, (_, at_ns) in enumerate(told))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["containerd", "imaged", "netd"]),
        ({"event": ["create"], "label": ["a"]}, ["containerd", "imaged", "netd"]),
        ({"type": ["volume"]}, ["containerd"]),
        ({"type": ["image", "network"]}, ["imaged", "netd"]),
        ({"network": ["web"]}, ["netd"]),
        ({"image": ["web"]}, ["containerd", "imaged"]),
        ({"image": ["web"], "type": ["image"]}, ["imaged"]),
        ({"container": ["a"], "network": ["b"]}, ["containerd"]),
        ({"type": ["plugin"]}, ["containerd"]),
        ({"colour": ["red"]}, ["containerd", "imaged", "netd"]),
    ],
)
def test_only_those_are_asked_who_can_tell(filters: Mapping[str, list[str]], expected: list[str]) -> None:
    assert event_streams.daemons(filters) == expected
