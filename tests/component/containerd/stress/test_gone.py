"""What goes away at a bad moment: clients, monitors, processes, runtimes, neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.neighbours import serve_imaged, serve_netd
from tests.component.containerd.stress.footprint import footprint, grown
from tests.component.containerd.stress.sizes import scaled
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_HELD = ("file ", "process cat", "process conmon")


async def _attach(container: str) -> AsyncIterator[pb.AttachContainerRequest]:
    opening = pb.AttachOpen(container=container, stdin=True, stdout=True, stderr=True)
    yield pb.AttachContainerRequest(open=opening)
    while True:
        yield pb.AttachContainerRequest(stdin=b"x" * 10_000)
        await asyncio.sleep(0.001)


async def _exec(container: str, *argv: str, **fields: Any) -> AsyncIterator[pb.ExecRequest]:
    yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=argv, **fields))
    while fields.get("stdin"):
        yield pb.ExecRequest(stdin=b"x" * 10_000)
        await asyncio.sleep(0.001)


def _following(yard: Yard, container: str) -> list[Any]:
    """Return what starts each kind of long call that only looks on, or speaks to what runs already."""
    return [
        lambda: yard.stub.AttachContainer(_attach(container)),
        lambda: yard.stub.GetLogs(pb.GetLogsRequest(container=container, follow=True)),
        lambda: yard.stub.GetStats(pb.GetStatsRequest(containers=[container])),
        lambda: yard.stub.WatchEvents(pb.WatchEventsRequest()),
        lambda: yard.stub.WaitContainer(pb.WaitContainerRequest(container=container)),
    ]


def _executing(yard: Yard, container: str) -> list[Any]:
    """Return what starts each kind of exec that ends without its user."""
    return [
        lambda: yard.stub.Exec(_exec(container, "cat", stdin=True)),
        lambda: yard.stub.Exec(_exec(container, "sh", "-c", "yes | head -c 3000000")),
    ]


async def test_clients_that_disconnect(one: Yard) -> None:
    container = await one.create("sh", "-c", "while :; do echo out; sleep 0.02; done", open_stdin=True)
    await one.start(container)
    rng = random.Random(1)

    async def leave(call: Any) -> None:
        with contextlib.suppress(TimeoutError, errors.BeeyardError):
            async with asyncio.timeout(rng.random() ** 2 * 0.2):
                async for _ in client.stream(call):
                    pass
        call.cancel()

    async def all_leave(calls: list[Any], times: int) -> None:
        for _ in range(times):
            await asyncio.gather(*(leave(make()) for make in calls))

    await all_leave(_following(one, container), 1)  # the connection to conmon stays
    await execute(one, container, "true")  # and the directory for those that follow
    before = await footprint(one)
    await all_leave(_following(one, container), scaled(50, 25))
    assert await grown(one, before) == {}, "while the container runs"
    await all_leave(_executing(one, container), scaled(50, 10))
    async with asyncio.timeout(
        30
    ):  # the input of an exec ends with its user, whenever that goes, and so it ends
        while any(kind.startswith(_HELD) for kind in (await footprint(one)).grown_since(before)):
            await asyncio.sleep(0.05)
    # With a terminal it outlives its user, as long as it wants: until the container ends.
    terminals = [lambda: one.stub.Exec(_exec(container, "sh", tty=True, stdin=True))]
    await all_leave([*terminals, *_executing(one, container), *_following(one, container)], scaled(50, 10))


def _lives(pid: int) -> bool:
    """Whether it is more than a zombie: who loses its parent belongs to process 1, which may be slow to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _for_want_of_a_neighbour(outcome: object) -> bool:
    return isinstance(outcome, errors.BeeyardError) and (
        outcome.reason == "NEIGHBOUR_UNAVAILABLE" or outcome.metadata.get("cause") == "NEIGHBOUR_UNAVAILABLE"
    )


async def test_monitors_and_processes_killed(each: Yard) -> None:
    container = await each.create("sleep", "1000")
    for victim in ("conmon", "init", "both"):
        pid = await each.start(container)
        waiting = await each.armed_wait(container)
        pids = {"conmon": each.conmons(), "init": [pid], "both": [*each.conmons(), pid]}[victim]
        for process in pids:
            os.kill(process, signal.SIGKILL)
        async with asyncio.timeout(20):
            ended = await waiting
        assert ended.exit_code in ((137,) if victim == "init" else (255, 137))
        async with asyncio.timeout(20):
            while each.remains():
                await asyncio.sleep(0.02)
        assert not _lives(pid)


async def test_a_runtime_that_is_killed(each: Yard) -> None:
    """The start fails and says so, or has just succeeded; nothing is left of it either way."""
    for _ in range(10):
        container = await each.create("sleep", "1000")

        async def kill(container: str = container) -> None:
            for _ in range(400):
                for entry in Path("/proc").glob("[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        words = entry.read_bytes()
                        if words.split(b"\0")[0].endswith((b"crun", b"runc")) and container.encode() in words:
                            os.kill(int(entry.parent.name), signal.SIGKILL)
                            return
                await asyncio.sleep(0)

        killing = asyncio.create_task(kill())
        with contextlib.suppress(errors.BeeyardError):
            async with asyncio.timeout(
                90
            ):  # what the runtime had begun may keep its monitor waiting for a minute
                await each.start(container)
        await killing
        await each.remove(container)
    async with asyncio.timeout(20):
        while each.remains() or each.state_left():
            await asyncio.sleep(0.02)


async def test_neighbours_that_go_during_a_start(own: Yard) -> None:
    rng = random.Random(2)
    containers = [await own.create("sleep", "1000") for _ in range(4)]
    for number in range(scaled(12, 2)):
        name = ("imaged", "netd")[number % 2]
        starts = [asyncio.create_task(own.start(container)) for container in containers]
        await asyncio.sleep(rng.random() * 0.02)
        await own.servers.pop(name).drain(0)
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert all(isinstance(outcome, int) or _for_want_of_a_neighbour(outcome) for outcome in outcomes), (
            outcomes
        )
        serve = serve_imaged(own.imaged, own.run) if name == "imaged" else serve_netd(own.netd, own.run)
        own.servers[name] = await serve
        for container in containers:
            request = pb.StopContainerRequest(container=container, grace_ms=0)
            await client.call(own.stub.StopContainer(request))
        async with asyncio.timeout(40):
            while own.remains():
                await asyncio.sleep(0.05)
