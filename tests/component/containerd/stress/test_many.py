"""Many of everything, and afterwards the daemon holds what it held before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.kit.rpc import client
from tests.component.containerd.stress.footprint import footprint, grown, sockets
from tests.component.containerd.stress.sizes import scaled
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SOCKETS_MORE_MAX = 8
"""gRPC's connections of the tests themselves."""


async def _one(yard: Yard, *command: str) -> tuple[str, int]:
    container = await yard.create(*command)
    return container, await yard.start(container)


async def _exec(yard: Yard, container: str, *argv: str) -> int:
    async def requests():
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=argv))

    code = -1
    async for response in client.stream(yard.stub.Exec(requests())):
        if response.HasField("exit"):
            code = response.exit.exit_code
    return code


async def test_a_hundred_at_once(one: Yard) -> None:
    assert one.process is not None
    await _one(one, "true")
    await one.clear()
    before, sockets_before = footprint(one.process.pid), sockets(one.process.pid)
    made = await asyncio.gather(*(_one(one, "sleep", "1000") for _ in range(100)))
    states = {entry.id: entry.status for entry in await one.list()}
    assert all(states[key].state == pb.CONTAINER_STATE_RUNNING for key, _ in made)
    assert len({pid for _, pid in made}) == 100
    assert all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for _, pid in made)
    await asyncio.gather(*(one.remove(key) for key, _ in made))
    await one.clear()
    assert await grown(one.process.pid, before) == {}
    assert sockets(one.process.pid) <= sockets_before + SOCKETS_MORE_MAX


async def test_a_thousand_execs(one: Yard) -> None:
    assert one.process is not None
    container, _ = await _one(one, "sleep", "1000")
    assert await _exec(one, container, "sh", "-c", "exit 3") == 3
    before, sockets_before = footprint(one.process.pid), sockets(one.process.pid)
    left = iter(range(scaled(1_000, 100)))

    async def work() -> None:
        for number in left:
            assert await _exec(one, container, "sh", "-c", f"exit {number % 100}") == number % 100

    await asyncio.gather(work(), work())
    assert await grown(one.process.pid, before) == {}
    assert sockets(one.process.pid) <= sockets_before + SOCKETS_MORE_MAX
    assert list((one.run / "containerd/c" / container / "exec").iterdir()) == []


async def test_a_thousand_creates_and_removals(one: Yard) -> None:
    assert one.process is not None
    before = footprint(one.process.pid)
    left = iter(range(scaled(1_000, 200)))

    async def work() -> None:
        for _ in left:
            await one.remove(await one.create("true"))

    await asyncio.gather(*(work() for _ in range(4)))
    assert await one.list() == []
    assert one.state_left() == []
    assert await grown(one.process.pid, before) == {}
