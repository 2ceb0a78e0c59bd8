"""The broadcast: everyone gets everything, or is told that something is missing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.watch import Broadcast, Resync, Subscription


async def take(subscription: Subscription[int], count: int) -> list[int | Resync]:
    return [await anext(subscription) for _ in range(count)]


async def test_each_subscriber_gets_each_item_in_order() -> None:
    broadcast = Broadcast[int](8)
    async with broadcast.subscribe() as one, broadcast.subscribe() as two:
        broadcast.publish(1)
        broadcast.publish(2)
        assert await take(one, 2) == await take(two, 2) == [1, 2]


async def test_a_subscription_begins_and_ends_with_its_block() -> None:
    broadcast = Broadcast[int](8)
    broadcast.publish(1)
    subscription = broadcast.subscribe()
    broadcast.publish(2)
    async with subscription:
        assert broadcast.subscribers == 1
        broadcast.publish(3)
        assert await take(subscription, 1) == [3]
    assert broadcast.subscribers == 0


async def test_a_slow_reader_finds_resync_in_place_of_what_it_missed() -> None:
    broadcast = Broadcast[int](3)
    async with broadcast.subscribe() as slow, broadcast.subscribe() as quick:
        seen: list[int | Resync] = []
        for number in range(5):
            broadcast.publish(number)
            seen += await take(quick, 1)
        assert seen == [0, 1, 2, 3, 4]
        assert await take(slow, 2) == [Resync(), 4]


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_a_reader_never_misses_an_item_without_resync(buffer_max: int, steps: list[bool]) -> None:
    """Publish on True, read on False; whatever the order, gaps are announced and the buffer is bounded."""

    async def run() -> None:
        broadcast = Broadcast[int](buffer_max)
        async with broadcast.subscribe() as subscription:
            published, waiting, expected = 0, 0, 0
            for publish in [*steps, *[False] * (buffer_max + 1)]:
                if publish:
                    broadcast.publish(published)
                    published += 1
                    waiting = 1 if waiting == buffer_max else waiting + 1
                elif waiting:
                    waiting -= 1
                    item = await anext(subscription)
                    if isinstance(item, Resync):
                        expected = published - waiting
                    else:
                        assert item == expected
                        expected += 1
            assert expected == published

    asyncio.run(run())


async def test_a_waiting_reader_is_woken() -> None:
    broadcast = Broadcast[int](1)
    async with broadcast.subscribe() as subscription:
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        assert not waiting.done()
        broadcast.publish(7)
        assert await waiting == 7


async def test_closing_ends_the_loops_after_what_waits() -> None:
    broadcast = Broadcast[int](4)
    async with broadcast.subscribe() as subscription:
        broadcast.publish(1)
        broadcast.close()
        assert [item async for item in subscription] == [1]
    async with broadcast.subscribe() as late:
        assert [item async for item in late] == []


async def test_a_cancelled_reader_loses_nothing() -> None:
    broadcast = Broadcast[int](4)
    async with broadcast.subscribe() as subscription:
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        broadcast.publish(1)
        assert await take(subscription, 1) == [1]


def test_a_buffer_of_nothing_is_a_fault() -> None:
    with pytest.raises(AssertionError):
        Broadcast[int](0)
