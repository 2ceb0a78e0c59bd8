"""Containers that take all they can get: they hit their limits, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from tests.component.containerd import groups
from tests.component.containerd.stress.footprint import resident_bytes
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PIDS = 50
MIB = 1 << 20


LINE_BYTES = 86
"""Of a line of the flood in the log: time, stream and flag stand before it."""


async def _neighbour(yard: Yard) -> str:
    container = await yard.create("sh", "-c", "while :; do echo alive; sleep 0.05; done")
    await yard.start(container)
    return container


async def _lives(yard: Yard, container: str) -> None:
    """See that it still writes, and that a container can be started beside it."""
    before = len(await yard.logs(container))
    async with asyncio.timeout(20):
        while len(await yard.logs(container)) <= before:
            await asyncio.sleep(0.05)
    other, ended = await yard.run_to_end("true")
    assert ended.exit_code == 0
    await yard.remove(other)


async def test_a_fork_bomb(one: Yard) -> None:
    neighbour = await _neighbour(one)
    limits = spec_pb2.Resources(pids_limit=PIDS, cpu_shares=2)
    bomb = await one.create("sh", "-c", "f() { f | f & }; f; sleep 1000", resources=limits)
    await one.start(bomb)
    await asyncio.sleep(1)
    assert len(groups.pids(groups.group(one.cgroup_parent, bomb))) <= PIDS
    await _lives(one, neighbour)
    await one.remove(bomb)
    await _lives(one, neighbour)


async def test_a_memory_hog(one: Yard) -> None:
    neighbour = await _neighbour(one)
    limits = spec_pb2.Resources(memory_bytes=16 * MIB, memory_swap_bytes=16 * MIB)
    hog, ended = await one.run_to_end(
        "sh", "-c", "x=$(yes | head -c 20000000); x=$x$x$x; echo survived", resources=limits
    )
    assert ended.exit_code == 137
    assert ended.oom_killed
    assert (await one.get(hog)).status.oom_killed
    await _lives(one, neighbour)


async def test_a_flood_of_logs(one: Yard) -> None:
    """Rotation bounds the disk, whoever follows the log or does not read bounds nothing else."""
    assert one.process is not None
    neighbour = await _neighbour(one)
    memory = resident_bytes(one.process.pid)
    size = 1 << 30
    options = {"max-size": "4m", "max-file": "3"}
    flood = await one.create(
        "sh", "-c", f"yes 0123456789012345678901234567890123456789 | head -c {size}",
        log=spec_pb2.LogConfig(driver="json-file", options=options),
    )  # fmt: skip
    ended = await one.armed_wait(flood)
    follower = one.stub.GetLogs(pb.GetLogsRequest(container=flood, follow=True))
    await one.start(flood)
    await follower.read()  # one answer, and then nothing more is read
    largest = 0
    directory = one.root / "containerd/containers" / flood
    beside = asyncio.create_task(_lives(one, neighbour))
    while not ended.done():
        largest = max(largest, sum(path.stat().st_size for path in directory.glob("*") if path.exists()))
        await asyncio.sleep(0.1)
    assert (await ended).exit_code in (0, 141)  # yes dies of its pipe
    follower.cancel()
    await beside  # it was begun in the flood
    written = size // len("0123456789012345678901234567890123456789\n") * LINE_BYTES
    assert largest < written // 4, "rotation takes its time, and no more"
    assert resident_bytes(one.process.pid) < memory + 64 * MIB
    await _lives(one, neighbour)
