"""Checkpoint and restore with the real CRIU and runc, where they work; elsewhere these are skipped, with the reason."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests import criu
from tests.component.containerd.test_checkpoint import checkpoint, names, restore
from tests.component.containerd.yard import Yard, yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
STATES = pb.ContainerState
POOL = "2000000000-2000262143"
LIMIT = 64 << 20
MEMORY_V1 = Path("/sys/fs/cgroup/memory")
COUNT = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_yard(module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / "real"
    directory.mkdir()
    async with yard(directory, runtime=criu.RUNC, criu_path=criu.works(), userns_range=POOL) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def real(real_yard: Yard) -> AsyncIterator[Yard]:
    yield real_yard
    await real_yard.clear()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


def nothing_left(made: Yard) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return made.remains() == []

    return condition


async def counted(made: Yard, container: str) -> list[int]:
    """Return the numbers that a counter has written so far, all of them."""
    return [int(line) for line in (await made.text(container)).split()]


async def test_processes_go_on_where_they_were(socket_dir: Path) -> None:
    async with yard(socket_dir, runtime=criu.RUNC, criu_path=criu.works()) as made:
        await goes_on(made)


async def goes_on(real: Yard) -> None:
    """Twice in a row, with a daemon killed in between; limits, masks, log and the end are as ever."""
    container = await real.create(
        "sh",
        "-c",
        f"echo kept > /t/f; exec 4>/tmp/open; trap 'exit 7' TERM; {COUNT}",
        resources=spec_pb2.Resources(memory_bytes=LIMIT),
        mounts=[spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target="/t")],
    )
    await real.start(container)

    async def beyond(number: int) -> None:
        async def reached() -> bool:
            return len(await counted(real, container)) > number

        await until(reached)

    await beyond(3)
    pid = 0
    for name in ("one", "two"):
        await checkpoint(real, container, name)
        assert (await real.get(container)).status.state == STATES.CONTAINER_STATE_EXITED
        assert real.remains() == []
        ended_at = len(await counted(real, container))
        if name == "one":
            await real.kill_daemon()
            await real.start_daemon()
        pid = await restore(real, container, name)
        await beyond(ended_at + 3)
        found = await counted(real, container)
        assert found == list(range(len(found))), "nothing is counted twice, nothing is left out"
    assert await names(real, container) == ["one", "two"]

    root = Path(f"/proc/{pid}/root")
    assert (root / "t/f").read_text() == "kept\n"
    assert (Path(f"/proc/{pid}/fd/4")).exists()
    keys = (root / "proc/keys").stat()
    assert stat.S_ISCHR(keys.st_mode)
    node = os.stat("/dev/null")
    assert (keys.st_dev, keys.st_ino) != (node.st_dev, node.st_ino), "it would share the node's /dev/null"
    if MEMORY_V1.is_dir():
        limit = root / "sys/fs/cgroup/memory/memory.limit_in_bytes"
        assert int(limit.read_text()) == LIMIT, "it sees its own control group, and has the limit"

    waiting = await real.armed_wait(container)
    await client.call(real.stub.StopContainer(pb.StopContainerRequest(container=container)))
    assert (await waiting).exit_code == 7
    await until(nothing_left(real))


async def test_what_criu_cannot_do_leaves_the_container_as_it_is(real: Yard) -> None:
    container = await real.create(
        "sh",
        "-c",
        "exec 5>/tmp/big; rm /tmp/big; dd if=/dev/zero bs=1M count=2 >&5; echo ready; exec sleep 1000",
    )
    pid = await real.start(container)

    async def ready() -> bool:
        return "ready" in await real.text(container)

    await until(ready)
    with pytest.raises(errors.FailedPrecondition) as failed:
        await checkpoint(real, container, "one")
    assert failed.value.reason == "CHECKPOINT_FAILED"
    assert "ghost" in failed.value.message, "CRIU's reason"
    found = await real.get(container)
    assert (found.status.state, found.status.pid) == (STATES.CONTAINER_STATE_RUNNING, pid)
    assert await names(real, container) == []


async def test_a_restore_that_fails_says_why(real: Yard) -> None:
    container = await real.create("sh", "-c", f"exec 4>/tmp/open; echo x >&4; {COUNT}")
    await real.start(container)
    await checkpoint(real, container, "warm", leave_running=True)
    pid = (await real.get(container)).status.pid
    root = Path(f"/proc/{pid}/root")
    with (root / "tmp/open").open("a") as opened:
        opened.write("changed since")
    await client.call(real.stub.KillContainer(pb.KillContainerRequest(container=container)))
    await real.until_state(container, STATES.CONTAINER_STATE_EXITED)
    with pytest.raises(errors.FailedPrecondition) as failed:
        await restore(real, container, "warm")
    assert "tmp/open has bad size" in failed.value.message
    await until(nothing_left(real))
    assert await real.start(container), "it can be started anew"


async def test_user_namespaces_are_refused_before_anything_is_stopped(real: Yard) -> None:
    container = await real.create("sleep", "1000", security=spec_pb2.Security(userns="auto"))
    pid = await real.start(container)
    with pytest.raises(errors.Unsupported) as refused:
        await checkpoint(real, container, "one")
    assert "user namespace" in refused.value.message
    assert (await real.get(container)).status.pid == pid
