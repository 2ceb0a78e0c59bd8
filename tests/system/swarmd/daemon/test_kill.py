"""kill -9: the swarm goes on, and who was killed comes back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.system.swarmd.daemon import processes as processes_
from tests.system.swarmd.daemon.processes import Process, leader, until_ready, until_voting

pytestmark = pytest.mark.slow


@pytest.fixture
async def swarm(socket_dir: Path) -> AsyncIterator[list[Process]]:
    """Three managers and a worker."""
    running = await processes_.found(socket_dir, 3, 1)
    yield running
    await asyncio.gather(*(process.close() for process in running))


async def test_the_leader_is_killed(swarm: list[Process], record_property: pytest.RecordProperty) -> None:
    managers, worker = swarm[:3], swarm[3]
    old = await leader(managers)
    rest = [manager for manager in managers if manager is not old]
    old.kill()
    killed_at = time.monotonic()
    await rest[0].label(worker.hostname, "through-0")  # at once, through a follower
    record_property("write_after_kill_s", round(time.monotonic() - killed_at, 2))
    await rest[1].label(worker.hostname, "through-1")
    assert await leader(rest) is not old
    await until_ready(rest[0], worker.hostname)

    await old.start()
    await until_voting(rest[0], 3)
    await until_ready(old, old.hostname)
    assert (await old.list())[worker.hostname].spec.annotations.labels["test"] == "through-1"


async def test_a_quorum_is_killed_and_comes_back(swarm: list[Process]) -> None:
    m1, m2, m3, w1 = swarm
    await m1.label(w1.hostname, "kept")
    m2.kill()
    m3.kill()
    began_at = time.monotonic()
    with pytest.raises(errors.Unavailable) as refused:
        for number in range(20):
            await m1.label(w1.hostname, f"lost-{number}")
    assert refused.value.reason in {"NO_LEADER", "LEADER_LOST", "LEADERSHIP_LOST"}
    assert time.monotonic() - began_at < processes_.WAIT_S
    async with asyncio.timeout(processes_.WAIT_S):
        while True:
            answer = await client.call(m1.nodes.ListNodes(control_pb2.ListNodesRequest()))
            if answer.stale:
                break
            await asyncio.sleep(0.1)
    await m2.start()
    await until_voting(m1, 2)
    await m1.label(w1.hostname, "after")
    await m3.start()
    await until_voting(m3, 3)
    assert (await m3.list())[w1.hostname].spec.annotations.labels["test"] == "after"


async def test_all_are_killed_at_once(swarm: list[Process]) -> None:
    await swarm[0].label(swarm[3].hostname, "kept")
    ids = [(await process.state()).node_id for process in swarm]
    for process in swarm:
        process.kill()
    await asyncio.gather(*(process.start() for process in swarm))
    await until_voting(swarm[1], 3)
    for process in swarm:
        await until_ready(swarm[2], process.hostname)
    assert [(await process.state()).node_id for process in swarm] == ids
    assert (await swarm[1].list())[swarm[3].hostname].spec.annotations.labels["test"] == "kept"


async def test_it_ends_in_order(swarm: list[Process]) -> None:
    codes = [await process.terminate() for process in swarm]
    assert codes == [0, 0, 0, 0], [process.log[-2000:] for process in swarm]
    for process in swarm:
        assert "Traceback" not in process.log, process.log[-4000:]
