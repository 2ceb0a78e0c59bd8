"""The agent is killed at every effect, one after the other: before it, and after it with the answer lost.

A run without a kill counts the effects: calls to containerd and writes of the journal. Then the same story is told once
for each of them, and at that point the agent dies as by SIGKILL: what it had on disk is copied in that moment, whatever
it still does afterwards reaches nothing. The next life starts from the copy and the containers that are there, and the
story goes on. In the end everything must be as if nothing had happened: no container made or started twice, none left,
and the swarm never told a state that it then had to take back.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.kit.system import SystemClock
from services.swarmd.agent import runner
from services.swarmd.agent.core.assembly import Assignments
from services.swarmd.agent.engine import Engine
from services.swarmd.agent.journal import Entry, Journal
from services.swarmd.agent.worker import Worker
from tests.component.swarmd.agent.yard import RUNNING as LIVING
from tests.component.swarmd.agent.yard import Yard, yard

READY, RUNNING = objects_pb2.TASK_STATE_READY, objects_pb2.TASK_STATE_RUNNING
SHUTDOWN, FAILED = objects_pb2.TASK_STATE_SHUTDOWN, objects_pb2.TASK_STATE_FAILED
GONE = objects_pb2.TASK_STATE_UNSPECIFIED
State = objects_pb2.TaskState.ValueType


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the swarm wants, and the state that the task must come to; the container may end before."""

    desired: State
    reaches: State
    exits: int | None = None


STORIES: dict[str, tuple[Scene, ...]] = {
    "runs-and-is-stopped": (
        Scene(desired=RUNNING, reaches=RUNNING),
        Scene(desired=SHUTDOWN, reaches=SHUTDOWN),
        Scene(desired=GONE, reaches=GONE),
    ),
    "waits-ready-then-fails": (
        Scene(desired=READY, reaches=READY),
        Scene(desired=RUNNING, reaches=RUNNING),
        Scene(desired=RUNNING, reaches=FAILED, exits=3),
        Scene(desired=GONE, reaches=GONE),
    ),
    "is-removed-while-it-runs": (
        Scene(desired=RUNNING, reaches=RUNNING),
        Scene(desired=GONE, reaches=GONE),
    ),
}


def wanted(desired: State) -> Assignments:
    if desired == GONE:
        return Assignments(complete=True)
    task = objects_pb2.Task(
        id="t1",
        node_id="n1",
        slot=1,
        service_annotations=objects_pb2.Annotations(name="web"),
        desired_state=desired,
        status=objects_pb2.TaskStatus(state=objects_pb2.TASK_STATE_ASSIGNED),
        spec=objects_pb2.TaskSpec(container=spec_pb2.ContainerSpec(image="web:1")),
    )
    return Assignments(complete=True, tasks=(task,))


class Killed(Exception):
    """Ends the life that is being lived."""


class Fate:
    """Counts effects, and kills the agent at one of them."""

    def __init__(self, node: Yard, directory: Path, fatal: int) -> None:
        self.effects: list[str] = []
        self.killed = asyncio.Event()
        self.directory = directory
        self._node = node
        self._fatal = fatal
        self._lives = 0
        node.containerd.hook = self._call

    def reached(self, effect: str) -> bool:
        """Note an effect; return whether the agent is dead."""
        if self.killed.is_set():
            return True
        self.effects.append(effect)
        if len(self.effects) - 1 == self._fatal:
            self._lives += 1
            copy = self.directory.with_name(f"life{self._lives}")
            shutil.copytree(self.directory, copy)
            self.directory = copy
            self.killed.set()
            return True
        return False

    def revive(self) -> None:
        """Begin the next life."""
        self.killed.clear()

    def _call(self, when: str, call: str) -> None:
        if self.reached(f"{when} {call}"):
            raise errors.Unavailable("the connection broke")


@contextlib.contextmanager
def fated_journal(fate: Fate) -> AsyncIterator[None]:
    """Make the writes of the journal effects too."""
    save, forget = Journal.save, Journal.forget

    async def fated(work: Callable[[], object], name: str) -> None:
        if fate.reached(f"before {name}"):
            await asyncio.Event().wait()
        await work()  # type: ignore[misc]
        if fate.reached(f"after {name}"):
            await asyncio.Event().wait()

    async def fated_save(journal: Journal, entries: Iterable[Entry]) -> None:
        listed = list(entries)
        if listed:
            await fated(lambda: save(journal, listed), "save")

    async def fated_forget(journal: Journal, task_id: str) -> None:
        await fated(lambda: forget(journal, task_id), "forget")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "save", fated_save)
        patch.setattr(Journal, "forget", fated_forget)
        patch.setattr(runner, "RETRY_BASE_S", 0.01)
        yield


class Swarm:
    """What the swarm was told of the task."""

    def __init__(self) -> None:
        self.state: State = GONE

    def tell(self, status: objects_pb2.TaskStatus | None) -> None:
        if status is not None:
            assert status.state >= self.state, f"told {status.state} after {self.state}"
            self.state = status.state


async def listen(worker: Worker, swarm: Swarm) -> None:
    for task_id in worker.task_ids:
        worker.reports.changed(task_id)
    while True:
        for task_id in await worker.reports.take(10):
            swarm.tell(worker.status(task_id))


async def live(node: Yard, fate: Fate, swarm: Swarm, scenes: list[Scene]) -> None:
    """Live until the story ends or the agent is killed; scenes that were finished are taken from the list."""
    channels = node.connect()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(doom(fate))
            engine = Engine(channels["containerd"], channels["imaged"])
            async with Worker.open(
                fate.directory, engine=engine, clock=SystemClock(), rng=random.Random(1)
            ) as worker:
                listener = group.create_task(listen(worker, swarm))
                while scenes:
                    await play(worker, node, swarm, scenes[0])
                    del scenes[0]
                listener.cancel()
            raise Killed
    except* Killed:
        pass
    finally:
        for channel in channels.values():
            await channel.close()


async def doom(fate: Fate) -> None:
    await fate.killed.wait()
    raise Killed


async def play(worker: Worker, node: Yard, swarm: Swarm, scene: Scene) -> None:
    container = node.containerd.of_task("t1")
    if scene.exits is not None and container is not None and container.status.state == LIVING:
        node.containerd.exit("t1", scene.exits)
    await worker.assign(wanted(scene.desired))
    while not (swarm.state == scene.reaches if scene.reaches != GONE else not worker.task_ids):
        await asyncio.sleep(0.002)


async def tell_story(directory: Path, sockets: Path, story: tuple[Scene, ...], fatal: int) -> list[str]:
    """Tell a story with the agent killed at effect number `fatal`; return the effects."""
    async with yard(sockets) as node:
        (directory / "life0").mkdir(parents=True)
        fate, swarm, scenes = Fate(node, directory / "life0", fatal), Swarm(), list(story)
        with fated_journal(fate):
            async with asyncio.timeout(30):
                while scenes:
                    fate.revive()
                    await live(node, fate, swarm, scenes)
        assert node.containerd.created == {"t1": 1}
        assert node.containerd.started["t1"] <= 1
        assert not node.containerd.containers, "nothing is left"
        return fate.effects


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_every_effect(name: str, tmp_path: Path, socket_dir: Path) -> None:
    story = STORIES[name]
    effects = await tell_story(tmp_path / "unharmed", socket_dir, story, fatal=-1)
    assert {"before create", "after start", "before save", "after forget"} <= set(effects)
    for fatal in range(2 * len(effects)):
        try:
            told = await tell_story(tmp_path / f"killed{fatal}", socket_dir, story, fatal)
        except BaseException as exc:
            exc.add_note(f"killed at effect {fatal}")
            raise
        if len(told) <= fatal:  # it was over before; the number of reads differs from run to run
            assert fatal >= len(effects) // 2
            return
    pytest.fail("every life does more than the one before")
