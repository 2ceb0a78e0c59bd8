"""Many of everything, and afterwards the node holds what it held before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.kernel import syscalls
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.stress.footprint import footprint, grown
from tests.component.containerd.stress.sizes import scaled
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


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
    made = await asyncio.gather(*(_one(one, "sleep", "1000") for _ in range(100)))
    states = {entry.id: entry.status for entry in await one.list()}
    assert all(states[key].state == pb.CONTAINER_STATE_RUNNING for key, _ in made)
    assert len({pid for _, pid in made}) == 100
    assert all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for _, pid in made)
    await asyncio.gather(*(one.remove(key) for key, _ in made))


async def test_a_thousand_execs(one: Yard) -> None:
    container, _ = await _one(one, "sleep", "1000")
    assert await _exec(one, container, "sh", "-c", "exit 3") == 3
    before = await footprint(one)
    left = iter(range(1_000))

    async def work() -> None:
        for number in left:
            assert await _exec(one, container, "sh", "-c", f"exit {number % 100}") == number % 100

    await asyncio.gather(work(), work())
    assert await grown(one, before) == {}, "while the container still runs"
    assert list((one.run / "containerd/c" / container / "exec").iterdir()) == []


async def test_a_thousand_creates_and_removals(one: Yard) -> None:
    left = iter(range(scaled(1_000, 200)))

    async def work() -> None:
        for _ in left:
            await one.remove(await one.create("true"))

    await asyncio.gather(*(work() for _ in range(4)))
    assert await one.list() == []
    assert one.state_left() == []


async def test_what_is_left_is_seen(one: Yard) -> None:
    """The comparison can fail: one of everything is left, and all of it is named."""
    before = await footprint(one)
    left_group = groups.group(one.cgroup_parent, "left")
    with contextlib.ExitStack() as left:
        call = one.stub.WatchEvents(pb.WatchEventsRequest())
        left.callback(call.cancel)
        connection = left.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(str(one.run / "containerd.sock"))
        process = subprocess.Popen(["sleep", "1000"], cwd=one.run)
        left.callback(process.wait)
        left.callback(process.kill)
        left_group.mkdir()
        left.callback(left_group.rmdir)
        (one.run / "left").mkdir()
        left.callback((one.run / "left").rmdir)
        syscalls.mount("none", one.run / "left", "tmpfs", 0)
        left.callback(syscalls.umount, one.run / "left")
        async with asyncio.timeout(10):
            while (more := (await footprint(one)).grown_since(before)).keys() != {
                "beeyard_asyncio_tasks",
                'beeyard_rpc_in_flight{kind="stream"}',
                f"file socket unix {one.run}/containerd.sock",
                "process sleep",
                f"cgroup {left_group.relative_to(groups.CGROUP_ROOT)}",
                f"mount {one.run}/left",
                "path r/left",
            }:
                await asyncio.sleep(0.05)
    assert all(more.values())
