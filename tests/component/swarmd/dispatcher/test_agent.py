"""Agent and dispatcher together: from the store of the leader to containers of a node, and back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beeyard.swarm.v1 import objects_pb2
from services.kit.system import SystemClock
from services.swarmd.agent.agent import Agent
from services.swarmd.agent.description import Description
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.store.tables import NODES, TASKS
from tests.component.swarmd.agent.yard import Yard, yard
from tests.component.swarmd.dispatcher.seat import (
    READY,
    Membership,
    OneManager,
    Seat,
    named_channel,
    node,
    seat,
    task,
    until,
)

RUNNING, SHUTDOWN = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_SHUTDOWN
FAILED = objects_pb2.TASK_STATE_FAILED


class Site:
    """A manager's seat and one node."""

    def __init__(self, manager: Seat, yard_: Yard, directory: Path) -> None:
        self.manager = manager
        self.yard = yard_
        self.membership = Membership()
        self._directory = directory
        self.dialer: OneManager | None = None

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        daemons = self.yard.connect()
        describe = Description(
            hostname="host1", engine_version="0.1.0", engine_labels={"disk": "ssd"}, address="10.0.0.7:2377"
        )
        async with named_channel(self.manager.path, "n1") as channel:
            self.dialer = OneManager(channel)
            try:
                async with Agent.run(
                    self._directory / "agent",
                    containerd=daemons["containerd"],
                    imaged=daemons["imaged"],
                    managers=self.dialer,
                    membership=self.membership,
                    describe=describe,
                    clock=SystemClock(),
                    rng=random.Random(1),
                ) as agent:
                    yield agent
            finally:
                for daemon in daemons.values():
                    await daemon.close()


@pytest.fixture
async def site(socket_dir: Path, tmp_path: Path) -> AsyncIterator[Site]:
    async with yard(socket_dir) as yard_, seat(socket_dir) as manager:
        await manager.put(objects_pb2.Cluster(id="c"), node("n1"))
        yield Site(manager, yard_, tmp_path)


async def test_a_task_runs_where_it_was_assigned(site: Site) -> None:
    manager = site.manager
    async with manager.lead(), site.agent():
        await until(lambda: manager.node("n1").status.state == READY)
        description = manager.node("n1").description
        assert (description.hostname, description.os) == ("host1", "linux")
        assert description.resources.nano_cpus > 0
        assert description.resources.memory_bytes > 0
        assert "Network/bridge" in description.plugins
        await manager.put(task("a"))
        await until(lambda: manager.task("a").status.state == RUNNING)
        assert manager.task("a").status.container.addresses
        await manager.put(changed(manager.task("a"), SHUTDOWN))
        await until(lambda: manager.task("a").status.state == SHUTDOWN)
        await manager.store.update(lambda tx: tx.remove(TASKS, "a"))
        await until(lambda: not site.yard.containerd.containers)


def changed(found: objects_pb2.Task, desired: objects_pb2.TaskState.ValueType) -> objects_pb2.Task:
    copy = objects_pb2.Task()
    copy.CopyFrom(found)
    copy.desired_state = desired
    return copy


async def test_many_tasks_at_once(site: Site) -> None:
    manager = site.manager
    async with manager.lead(), site.agent():
        await until(lambda: manager.node("n1").status.state == READY)
        names = [f"t{number:02}" for number in range(50)]
        await manager.put(*(task(name) for name in names))
        await until(lambda: all(manager.task(name).status.state == RUNNING for name in names))


async def test_tasks_go_on_while_no_manager_answers(site: Site) -> None:
    manager = site.manager
    async with site.agent():
        async with manager.lead():
            await manager.put(task("a"), task("b"))
            await until(lambda: manager.task("b").status.state == RUNNING)
            await until(lambda: manager.task("a").status.state == RUNNING)
        site.yard.containerd.exit("b", 4)
        await asyncio.sleep(0.3)
        assert manager.task("b").status.state == RUNNING, "nobody took the report"
        async with manager.lead():
            await until(lambda: manager.task("b").status.state == FAILED)
            assert manager.task("b").status.container.exit_code == 4
            assert manager.task("a").status.state == RUNNING
        assert site.yard.containerd.started == {"a": 1, "b": 1}


async def test_what_was_told_is_told_again_to_a_new_leader(site: Site) -> None:
    manager = site.manager
    async with site.agent():
        async with manager.lead():
            await manager.put(task("a"))
            await until(lambda: manager.task("a").status.state == RUNNING)
        await manager.store.update(lambda tx: tx.remove(TASKS, "a"))
        await manager.put(task("a"))  # as if the last report had not been committed
        async with manager.lead():
            await until(lambda: manager.task("a").status.state == RUNNING)


async def test_a_task_that_was_deleted_meanwhile_goes(site: Site) -> None:
    manager = site.manager
    async with site.agent():
        async with manager.lead():
            await manager.put(task("a"), task("b"))
            await until(lambda: manager.task("a").status.state == RUNNING)
        await manager.store.update(lambda tx: tx.remove(TASKS, "a"))
        async with manager.lead():
            await until(lambda: site.yard.containerd.of_task("a") is None)
            assert site.yard.containerd.of_task("b") is not None


async def test_the_agent_hears_who_leads(site: Site) -> None:
    site.manager.leadership.place = NodePlace(node_id="m2", address="10.0.0.2:2377")
    async with site.agent():
        await until(lambda: site.dialer is not None and "10.0.0.2:2377" in site.dialer.hints)


async def test_a_removed_node_is_told_once_it_calls(site: Site) -> None:
    async with site.manager.lead(), site.agent():
        await until(lambda: site.membership.messages)
        assert site.membership.messages[0].node.id == "n1"
        await site.manager.store.update(lambda tx: tx.remove(NODES, "n1"))
        await until(lambda: site.membership.removed)


async def test_a_node_that_leaves_takes_its_containers_along(site: Site) -> None:
    manager = site.manager
    async with manager.lead(), site.agent() as agent:
        await manager.put(task("a"))
        await until(lambda: manager.task("a").status.state == RUNNING)
        assert await agent.leave(timeout_s=10)
        assert not site.yard.containerd.containers


async def test_leaving_does_not_wait_without_end(site: Site) -> None:
    manager = site.manager
    async with manager.lead(), site.agent() as agent:
        await manager.put(task("a"))
        await until(lambda: manager.task("a").status.state == RUNNING)
        await site.yard.stop("containerd")
        assert not await agent.leave(timeout_s=0.3)
        await site.yard.start("containerd")
