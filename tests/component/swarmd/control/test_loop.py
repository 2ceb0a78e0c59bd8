"""The control loop on a real event loop, with a store whose proposals lag, conflict and fail."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import pytest

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import TASK_STATE_ASSIGNED, TASK_STATE_FAILED, Node, Service, Task
from services.kit import errors
from services.kit.system import SystemClock
from services.swarmd.control.loop import ControlLoop
from services.swarmd.store.store import Store
from services.swarmd.store.tables import NODES, SERVICES, TASKS, copy_of
from services.swarmd.store.transaction import Tx


class Raft:
    """A single member's raft: takes a moment, applies in order, and fails when told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self.failing = False
        self.foreign: Callable[[], None] | None = None
        self.entries = 0

    async def propose(self, data: bytes) -> object:
        async with self._turn:
            await asyncio.sleep(0.001)
            if self.failing:
                raise errors.Unavailable("no leader", reason="NO_LEADER")
            if self.foreign is not None:
                foreign, self.foreign = self.foreign, None
                foreign()
            self.entries += 1
            return self._store.apply(self._store.index + 1, data)


@pytest.fixture
def store() -> Store:
    return Store(SystemClock())


@pytest.fixture
def raft(store: Store) -> Raft:
    raft = Raft(store)
    store.bind(raft)
    return raft


def loop_of(store: Store) -> ControlLoop:
    ids = itertools.count(1)
    return ControlLoop(store, SystemClock(), random.Random(1), lambda: f"{next(ids):025d}")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come; the test's own time limit ends it."""
    while not condition():
        await asyncio.sleep(0.002)


def fill(tx: Tx) -> None:
    for number in range(1, 6):
        node = Node(id=f"n{number}")
        node.status.state = objects_pb2.NODE_STATE_READY
        tx.create(NODES, node)
    service = Service(id="web")
    service.spec.annotations.name = "web"
    service.spec.mode.replicated.replicas = 5
    service.spec.task.restart.delay_ms = 20
    tx.create(SERVICES, service)


def scale(replicas: int) -> Callable[[Tx], None]:
    def change(tx: Tx) -> None:
        service = copy_of(tx.get(SERVICES, "web"))  # type: ignore[type-var]
        service.spec.mode.replicated.replicas = replicas  # type: ignore[union-attr]
        tx.update(SERVICES, service)  # type: ignore[arg-type]

    return change


def assigned(store: Store) -> list[Task]:
    return [task for task in store.view().list(TASKS) if task.status.state == TASK_STATE_ASSIGNED]


async def test_it_follows_changes_until_it_is_left(store: Store, raft: Raft) -> None:
    await store.update(fill)
    async with loop_of(store):
        await until(lambda: len(assigned(store)) == 5)
        entries = raft.entries
        await store.update(scale(50))
        await until(lambda: len(assigned(store)) == 50)
        assert raft.entries == entries + 2, "one for the user, one for all that follows"
    await store.update(scale(60))
    await asyncio.sleep(0.02)
    assert len(assigned(store)) == 50


async def test_what_time_alone_brings_about_happens(store: Store, raft: Raft) -> None:
    await store.update(fill)
    async with loop_of(store):
        await until(lambda: len(assigned(store)) == 5)

        def fail(tx: Tx) -> None:
            task = copy_of(min(tx.list(TASKS), key=lambda task: task.id))
            task.status.state = TASK_STATE_FAILED
            task.status.since.GetCurrentTime()
            tx.update(TASKS, task)

        await store.update(fail)
        await until(lambda: len(store.view().list(TASKS)) == 6)
        newest = max(store.view().list(TASKS), key=lambda task: task.id)
        assert newest.HasField("start_after")
        await until(
            lambda: store.view().get(TASKS, newest.id).desired_state == objects_pb2.TASK_STATE_RUNNING  # type: ignore[union-attr]
        )


async def test_it_outlives_the_loss_of_the_quorum(store: Store, raft: Raft) -> None:
    await store.update(fill)
    async with loop_of(store):
        await until(lambda: len(assigned(store)) == 5)
        await store.update(scale(8))
        raft.failing = True
        await asyncio.sleep(0.03)
        assert len(assigned(store)) == 5
        raft.failing = False
        await until(lambda: len(assigned(store)) == 8)


async def test_a_conflict_is_worked_out_anew(store: Store, raft: Raft) -> None:
    await store.update(fill)
    async with loop_of(store):
        await until(lambda: len(assigned(store)) == 5)
        await store.update(scale(3))

        def other_leader() -> None:
            """Another leader ends a task that this one is just ending."""
            tx = Tx(store.view())
            for task in tx.list(TASKS):
                changed = copy_of(task)
                changed.desired_state = objects_pb2.TASK_STATE_SHUTDOWN
                tx.update(TASKS, changed)
            store.apply(store.index + 1, tx.entry(store._timestamp()))

        raft.foreign = other_leader
        await until(
            lambda: sum(t.desired_state == objects_pb2.TASK_STATE_READY for t in assigned(store)) == 3
        )


async def test_two_loops_do_no_harm(store: Store, raft: Raft) -> None:
    await store.update(fill)
    one = loop_of(store)
    ids = itertools.count(1_000_000)
    two = ControlLoop(store, SystemClock(), random.Random(2), lambda: f"{next(ids):025d}")

    def active_slots() -> list[int]:
        return sorted(
            task.slot
            for task in store.view().list(TASKS)
            if task.desired_state <= objects_pb2.TASK_STATE_RUNNING
        )

    async with one, two:
        await store.update(scale(20))
        await until(lambda: active_slots() == list(range(1, 21)))  # what the two make twice is ended again
        await asyncio.sleep(0.02)
        assert active_slots() == list(range(1, 21))
