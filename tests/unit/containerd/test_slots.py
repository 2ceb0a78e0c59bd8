"""Slots for starts: who only waits leaves his to the next, within bounds."""

from __future__ import annotations

import asyncio
import gc

import pytest

from services.containerd.slots import Slot, Slots


class Starts:
    """Starts that hold on until they are let go."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.taken: dict[str, Slot] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, owner: str = "") -> bool:
        """Ask for a slot; return whether it is there at once."""
        self.tasks[name] = asyncio.ensure_future(self._hold(name, owner or name))
        await turn()
        return name in self.taken

    async def end(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await turn()

    async def _hold(self, name: str, owner: str) -> None:
        async with self.slots.take(owner) as slot:
            self.taken[name] = slot
            await asyncio.Event().wait()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_leaves_lets_the_next_in_once() -> None:
    starts = Starts(Slots(1, in_flight_max=9))
    assert await starts.ask("a")
    assert not await starts.ask("b")
    assert not await starts.ask("c")
    starts.taken["a"].leave()
    starts.taken["a"].leave()
    await turn()
    assert list(starts.taken) == ["a", "b"]
    await starts.end("a")  # has left already
    assert list(starts.taken) == ["a", "b"]
    await starts.end("b")
    assert list(starts.taken) == ["a", "b", "c"]
    await starts.end("c")


async def test_those_that_have_left_are_bounded() -> None:
    starts = Starts(Slots(1, in_flight_max=2))
    for name in ("a", "b"):
        assert await starts.ask(name)
        starts.taken[name].leave()
    assert not await starts.ask("c")
    await starts.end("a")
    assert "c" in starts.taken
    await starts.end("b", "c")


async def test_one_owner_is_bounded_and_no_other_waits_for_that() -> None:
    starts = Starts(Slots(2, in_flight_max=9, of_one_max=2))
    for name in ("a1", "a2"):
        assert await starts.ask(name, "a")
        starts.taken[name].leave()
    assert not await starts.ask("a3", "a")
    assert not await starts.ask("a4", "a")
    assert await starts.ask("b1", "b")
    await starts.end("a4", "a1")  # one that waits may go
    assert set(starts.taken) == {"a1", "a2", "a3", "b1"}
    await starts.end("a2", "a3", "b1")
    starts.tasks.clear()
    gc.collect()  # what was cancelled holds on in its traceback
    assert not starts.slots._owners, "nothing is kept of owners that start nothing"


async def test_a_slot_is_left_after_a_while_and_not_by_who_was_in_time() -> None:
    slots = Slots(1, in_flight_max=2)
    async with slots.take("a") as slot:
        with slot.left_after(0.0):
            async with asyncio.timeout(10), slots.take("b") as other:
                with other.left_after(0.0):
                    pass
                await asyncio.sleep(0.01)
                assert slots._slots.locked()


async def test_a_failed_start_gives_everything_back() -> None:
    slots = Slots(1, in_flight_max=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            async with asyncio.timeout(10), slots.take("a"):
                raise ValueError("no")
