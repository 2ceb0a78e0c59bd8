"""Parts begin and end when they are told to, and when they do by themselves it is known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.kit import errors
from services.kit.tasks import Supervisor
from services.swarmd.members.part import Part


class Component:
    """Something with a beginning and an end."""

    def __init__(self, *, begins: bool = True, hangs: bool = False) -> None:
        self.begins = begins
        self.hangs = hangs
        self.log: list[str] = []
        self.broken = asyncio.Event()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        self.log.append("begin")
        try:
            if self.hangs:
                await asyncio.Event().wait()
            if not self.begins:
                raise errors.Exhausted("no room", reason="DISK_FULL")
            async with Supervisor() as supervisor:
                supervisor.spawn(self._break(), "breaks")
                yield "value"
        finally:
            self.log.append("end")

    async def _break(self) -> None:
        await self.broken.wait()
        raise errors.Internal("it broke")


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with Supervisor() as running:
        yield running


async def test_it_is_entered_and_left(supervisor: Supervisor) -> None:
    component = Component()
    part = Part("part", component.run)
    assert await part.start(supervisor) == "value"
    assert part.running
    await part.stop()
    assert not part.running
    assert component.log == ["begin", "end"]
    assert part.failure is None


async def test_what_keeps_it_from_beginning_is_raised(supervisor: Supervisor) -> None:
    part = Part("part", Component(begins=False).run)
    with pytest.raises(errors.Exhausted):
        await part.start(supervisor)
    await part.stop()
    assert not part.running


async def test_its_own_end_is_known(supervisor: Supervisor) -> None:
    component = Component()
    part = Part("part", component.run)
    await part.start(supervisor)
    component.broken.set()
    await part.ended()
    assert isinstance(part.failure, errors.Internal)
    await part.stop()


async def test_a_beginning_that_hangs_can_be_stopped(supervisor: Supervisor) -> None:
    component = Component(hangs=True)
    part = Part("part", component.run)
    starting = asyncio.get_running_loop().create_task(part.start(supervisor))
    await asyncio.sleep(0.01)
    await part.stop()
    with pytest.raises(errors.Unavailable):
        await starting
    assert component.log == ["begin", "end"]


async def test_who_gives_up_waiting_leaves_nothing(supervisor: Supervisor) -> None:
    component = Component(hangs=True)
    part = Part("part", component.run)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await part.start(supervisor)
    assert component.log == ["begin", "end"]


async def test_the_supervisors_end_is_its_end() -> None:
    component = Component()
    async with Supervisor() as supervisor:
        part = Part("part", component.run)
        await part.start(supervisor)
    assert component.log == ["begin", "end"]
    await part.stop()


async def test_one_that_never_ran_can_be_stopped() -> None:
    async with Supervisor():
        part = Part("part", Component().run)
        await part.stop()
