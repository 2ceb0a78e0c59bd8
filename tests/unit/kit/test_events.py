"""What a daemon tells of what happens in it: who gets what, and docker's filters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from services.kit import errors, event_filters
from services.kit.events import PAST_MAX, WAITING_MAX, Event, History, Live, Selection
from services.kit.watch import Resync

START = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Event(
    at=START,
    type="container",
    action="die",
    id="ab" * 32,
    attributes={"name": "web", "image": "team/app:1", "k": "v", "bare": ""},
)
IMAGE = Event(at=START, type="image", action="tag", id="sha256:" + "c" * 64, attributes={"name": "app:1"})
NETWORK = Event(at=START, type="network", action="connect", id="de" * 32, attributes={"name": "web"})
PRUNE = Event(at=START, type="network", action="prune", id="", attributes={"reclaimed": "0"})


class Clock:
    """A wall clock that stands."""

    def now(self) -> datetime:
        return START + timedelta(seconds=100)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float, /) -> None:
        raise AssertionError(f"nobody sleeps {seconds} s here")


def numbered(number: int) -> Event:
    return Event(at=START + timedelta(seconds=number), type="volume", action="create", id=str(number))


def ids(items: list[Event | Live | Resync]) -> list[str]:
    return [item.id if isinstance(item, Event) else type(item).__name__ for item in items]


async def ending(items: AsyncIterator[Event | Live | Resync]) -> list[str]:
    async with asyncio.timeout(10):
        return ids([item async for item in items])


async def test_the_past_is_bounded_and_comes_before_what_is_live() -> None:
    history = History()
    for number in range(PAST_MAX + 3):
        history.publish(numbered(number))
    reader = history.watch(Selection(since_s=0.0), Clock())
    past = [await anext(reader) for _ in range(PAST_MAX)]
    assert ids(past) == [str(number) for number in range(3, PAST_MAX + 3)]
    history.publish(numbered(-1))
    assert isinstance(await anext(reader), Live)
    assert ids([await anext(reader)]) == ["-1"], "published while the past was being read"


async def test_a_replay_has_both_ends_and_ends() -> None:
    history = History()
    for number in range(10):
        history.publish(numbered(number))
    selection = Selection(since_s=START.timestamp() + 3, until_s=START.timestamp() + 5)
    assert await ending(history.watch(selection, Clock())) == ["3", "4", "5", "Live"]
    assert await ending(history.watch(Selection(until_s=START.timestamp()), Clock())) == ["Live"]


async def test_what_is_after_the_end_is_not_given_though_it_waits() -> None:
    history = History()
    reader = history.watch(Selection(until_s=START.timestamp() + 2), Clock())
    assert isinstance(await anext(reader), Live)
    for number in (1, 2, 3):
        history.publish(numbered(number))
    assert await ending(reader) == ["1", "2"]


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    history = History()
    reader = history.watch(Selection(filters={"type": ("nothing",)}), Clock())
    assert isinstance(await anext(reader), Live)
    for number in range(WAITING_MAX + 1):
        history.publish(numbered(number))
    assert isinstance(await anext(reader), Resync), "also if it wanted none of them: it cannot know"


async def test_an_unknown_filter_is_refused_at_once() -> None:
    with pytest.raises(errors.Invalid, match="colour") as caught:
        await anext(History().watch(Selection(filters={"colour": ("red",)}), Clock()))
    assert caught.value.reason == "FILTER_INVALID"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [WEB, IMAGE, NETWORK, PRUNE]),
        ({"type": ("container", "image")}, [WEB, IMAGE]),
        ({"event": ("die", "connect")}, [WEB, NETWORK]),
        ({"container": ("web",)}, [WEB]),
        ({"container": ("we",)}, [WEB]),
        ({"container": ("abab",)}, [WEB]),
        ({"network": ("web",)}, [NETWORK]),
        ({"network": ("dede", "x")}, [NETWORK]),
        ({"volume": ("web",)}, []),
        ({"container": ("web",), "network": ("web",)}, []),
        ({"image": ("team/app",)}, [WEB]),
        ({"image": ("team/app:1",)}, [WEB]),
        ({"image": ("app",)}, [IMAGE]),
        ({"image": ("app:1",)}, [IMAGE]),
        ({"image": ("app:2",)}, []),
        ({"image": (IMAGE.id,)}, [IMAGE]),
        ({"label": ("k=v",)}, [WEB]),
        ({"label": ("k", "bare")}, [WEB]),
        ({"label": ("k=v", "bare=no")}, []),
        ({"scope": ("local",)}, [WEB, IMAGE, NETWORK, PRUNE]),
        ({"scope": ("swarm",)}, []),
        ({"daemon": ("web",)}, []),
    ],
)
def test_filters_choose_as_dockers(filters: Mapping[str, tuple[str, ...]], expected: list[Event]) -> None:
    event_filters.check(filters)
    chosen = [event for event in (WEB, IMAGE, NETWORK, PRUNE) if event_filters.matches(event, filters)]
    assert chosen == expected


@pytest.mark.parametrize("asked", ["exec_start", "exec_start: sh -c true"])
def test_an_action_with_a_detail_is_found_by_both(asked: str) -> None:
    event = Event(at=START, type="container", action="exec_start: sh -c true", id="1")
    assert event_filters.matches(event, {"event": (asked,)})
    assert not event_filters.matches(event, {"event": ("exec",)})
