"""The queue in front of a container: who waits is answered, and what happened is never turned away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from services.containerd.lifecycle import messages as m
from services.containerd.lifecycle.actor import INBOX_MAX, Actor, Surroundings
from services.containerd.model.spec import ContainerSpec
from services.containerd.model.status import Phase, ProcessRef, Record, Run, State, Status
from services.containerd.streams.control import ControlFifo
from services.containerd.streams.hub import Hub
from services.kit import errors, system, tasks

if TYPE_CHECKING:
    from pathlib import Path

RUN = Run(init=ProcessRef(pid=2, start_ticks=2), conmon=ProcessRef(pid=1, start_ticks=1), boot_id="b")


class FakeStore:
    """Deletes when it is let, and writes unless the disk is full."""

    def __init__(self) -> None:
        self.full = False
        self.deleting = asyncio.Event()
        self.may_delete = asyncio.Event()

    async def write_status(self, _id: str, _status: Status) -> None:
        if self.full:
            raise errors.Exhausted("the disk is full", reason="DISK_FULL")

    async def delete(self, _id: str) -> None:
        self.deleting.set()
        await self.may_delete.wait()


class FakeWork:
    """Everything but the ignition succeeds at once."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    def signal(self, _run: Run, name: str) -> None:
        self.signals.append(name)

    async def bring_up(self, _record: Record, *, checkpoint: str) -> Run:
        return RUN

    async def ignite(self, _record: Record, _run: Run) -> None:
        raise errors.Internal("no fifo")

    async def clean_up(self, _record: Record) -> None:
        pass

    async def remove(self, _record: Record, *, volumes: bool) -> None:
        pass


class FakeWatcher:
    """Sees nothing."""

    def watch(self, _id: str, _run: Run) -> None:
        pass


class HurriedClock(system.SystemClock):
    """Waits one turn of the loop instead of the time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Scene:
    """An actor among fakes."""

    def __init__(self, supervisor: tasks.Supervisor, directory: Path, status: Status) -> None:
        self.store = FakeStore()
        self.work = FakeWork()
        clock = HurriedClock()
        around = Surroundings(
            work=cast("Any", self.work),
            store=cast("Any", self.store),
            watcher=cast("Any", FakeWatcher()),
            supervisor=supervisor,
            clock=clock,
            publish=lambda _event: None,
            forget=lambda _id: None,
            default_runtime="crun",
        )
        record = Record(
            id="a" * 64, name="web", created_at=clock.now(), spec=ContainerSpec(image="i"), status=status
        )
        self.actor = Actor(record, around, Hub(clock), ControlFifo(directory, clock))


def _remove(number: int) -> m.Event:
    return m.RemoveAsked(ask=number, force=True, volumes=False)


async def test_who_asks_for_the_removal_while_the_record_goes_is_answered(tmp_path: Path) -> None:
    async with tasks.Supervisor() as supervisor, asyncio.timeout(30):
        scene = Scene(supervisor, tmp_path, Status(phase=Phase.IDLE, runtime="crun"))
        first = asyncio.ensure_future(scene.actor.ask(_remove))
        await scene.store.deleting.wait()
        second = asyncio.ensure_future(scene.actor.ask(_remove))
        await asyncio.sleep(0)
        scene.store.may_delete.set()
        await asyncio.gather(first, second)
        await scene.actor.ask(_remove)


async def test_nobody_waits_for_a_container_that_is_gone(tmp_path: Path) -> None:
    """Whatever it was that the automaton has kept."""
    async with tasks.Supervisor() as supervisor, asyncio.timeout(30):
        scene = Scene(supervisor, tmp_path, Status(phase=Phase.IDLE, runtime="crun"))
        scene.store.may_delete.set()
        kept = asyncio.ensure_future(
            scene.actor.ask(lambda _number: m.SpecChanged(spec=ContainerSpec(image="i")))
        )
        await scene.actor.ask(_remove)
        (refused,) = await asyncio.gather(kept, return_exceptions=True)
        assert isinstance(refused, errors.FailedPrecondition)


async def test_an_exit_is_taken_however_many_wait_and_refused_asks_are_not_done_later(tmp_path: Path) -> None:
    async with tasks.Supervisor() as supervisor, asyncio.timeout(30):
        up = Status(
            state=State.RUNNING,
            phase=Phase.UP,
            runtime="crun",
            run=RUN,
            started_at=system.SystemClock().now(),
        )
        scene = Scene(supervisor, tmp_path, up)
        scene.store.full = True
        stops = [
            asyncio.ensure_future(
                scene.actor.ask(lambda number: m.StopAsked(ask=number, signal="SIGTERM", grace_s=1))
            )
            for _ in range(INBOX_MAX + 1)
        ]
        await asyncio.sleep(0)
        scene.actor.post(m.Exited(exit_code=3))
        answers = await asyncio.gather(*stops, return_exceptions=True)
        assert {type(answer) for answer in answers} == {errors.Exhausted}
        scene.store.full = False
        while scene.actor.status.phase is not Phase.IDLE:
            await asyncio.sleep(0)
        assert (scene.actor.status.state, scene.actor.status.exit_code) == (State.EXITED, 3)
        assert scene.work.signals == ["SIGTERM"]  # of the one that was under way when the disk was full


async def test_a_failed_ignition_is_told_with_its_run(tmp_path: Path) -> None:
    async with tasks.Supervisor() as supervisor, asyncio.timeout(30):
        scene = Scene(supervisor, tmp_path, Status(phase=Phase.IDLE, runtime="crun"))
        with pytest.raises(errors.FailedPrecondition, match="no fifo"):
            await scene.actor.ask(lambda number: m.StartAsked(ask=number))
        while scene.actor.status.phase is not Phase.IDLE:
            await asyncio.sleep(0)
