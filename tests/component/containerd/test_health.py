"""Health checks in real containers: results, actions, and a daemon that dies in the middle of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import filter_pb2, spec_pb2
from services.containerd.health import core
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

STARTING, HEALTHY, UNHEALTHY = (
    pb.HEALTH_STATE_STARTING,
    pb.HEALTH_STATE_HEALTHY,
    pb.HEALTH_STATE_UNHEALTHY,
)
FLAG = "/tmp/sick"
ON_FLAG = f"test ! -e {FLAG} || {{ echo ill; exit 1; }}"


def check(*test: str, **fields: Any) -> spec_pb2.HealthCheck:
    """Return a check that runs often and gives up soon."""
    return spec_pb2.HealthCheck(
        test=test, **{"interval_ms": 200, "timeout_ms": 5_000, "retries": 2, **fields}
    )


async def until_health(yard: Yard, container: str, state: int, *, seconds: float = 20.0) -> pb.Container:
    """Wait until the check says so."""
    async with asyncio.timeout(seconds):
        while (found := await yard.get(container)).status.health.state != state:
            await asyncio.sleep(0.02)
    return found


async def until_checked(yard: Yard, container: str) -> pb.HealthResult:
    """Wait for a result."""
    async with asyncio.timeout(20):
        while not (log := (await yard.get(container)).status.health.log):
            await asyncio.sleep(0.02)
    return log[-1]


async def inside(yard: Yard, container: str, path: str) -> Path:
    """Return a path of a running container."""
    return Path(f"/proc/{(await yard.get(container)).status.pid}/root{path}")


def processes(word: str) -> list[int]:
    """Return the pids of the processes that have a word among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


async def until_none(word: str) -> None:
    """Wait until no process has the word among its arguments."""
    async with asyncio.timeout(10):
        while processes(word):
            await asyncio.sleep(0.02)


async def test_it_passes_fails_and_recovers(each: Yard) -> None:
    health = check("CMD-SHELL", "cat /tmp/state; test $(cat /tmp/state) = good")
    script = "echo good > /tmp/state; while :; do sleep 1; done"
    container = await each.create("sh", "-c", script, health=health)
    assert not (await each.get(container)).status.HasField("health")
    await each.start(container)
    found = await until_health(each, container, HEALTHY)
    assert found.status.health.log[-1].output == "good\n"
    assert found.status.health.log[-1].exit_code == 0
    state = await inside(each, container, "/tmp/state")
    state.write_text("bad\n")
    found = await until_health(each, container, UNHEALTHY)
    assert found.status.health.failing_streak >= 2
    assert (found.status.health.log[-1].exit_code, found.status.health.log[-1].output) == (1, "bad\n")
    assert found.status.state == pb.CONTAINER_STATE_RUNNING
    state.write_text("good\n")
    found = await until_health(each, container, HEALTHY)
    assert found.status.health.failing_streak == 0
    assert len(found.status.health.log) <= core.LOG_MAX
    listed = [
        [item.id for item in await each.list(filters={"health": filter_pb2.StringList(values=[value])})]
        for value in ("healthy", "unhealthy", "starting", "none")
    ]
    assert listed == [[container], [], [], []]


async def test_it_runs_as_the_container_does(each: Yard) -> None:
    before = os.stat("/dev/null")
    container = await each.create(
        "sleep",
        "100",
        user="alice",
        env=["A=b"],
        working_dir="/usr/local",
        health=check("CMD", "sh", "-c", "id -un; pwd; echo $A $FROM_IMAGE; cat"),
    )
    await each.start(container)
    assert (await until_checked(each, container)).output == "alice\n/usr/local\nb 1\n"
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


async def test_a_late_check_is_killed_with_its_children(each: Yard) -> None:
    late = check("CMD-SHELL", "echo begun; sleep 4321; true", timeout_ms=300, retries=1)
    container = await each.create("sleep", "100", health=late)
    await each.start(container)
    found = await until_health(each, container, UNHEALTHY)
    assert found.status.health.log[0].exit_code == -1
    assert found.status.health.log[0].output == "Health check exceeded timeout (300ms): begun\n"
    await each.remove(container)
    await until_none("4321")


async def test_a_check_that_cannot_be_run(each: Yard) -> None:
    container = await each.create("sleep", "100", health=check("CMD", "nope"))
    await each.start(container)
    result = await until_checked(each, container)
    assert result.exit_code == -1
    assert "nope" in result.output


async def test_its_output_is_bounded(one: Yard) -> None:
    container = await one.create("sleep", "100", health=check("CMD-SHELL", "seq 20000"))
    await one.start(container)
    result = await until_checked(one, container)
    assert result.exit_code == 0
    assert len(result.output.encode()) == core.OUTPUT_BYTES_MAX
    assert result.output.startswith("1\n2\n")
    assert result.output.endswith("...")


async def test_none_while_it_is_paused_or_has_ended(one: Yard) -> None:
    container = await one.create("sleep", "100", health=check("CMD", "true"))
    await one.start(container)
    await until_health(one, container, HEALTHY)
    await client.call(one.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    before = (await one.get(container)).status.health
    await asyncio.sleep(0.5)
    assert (await one.get(container)).status.health == before
    assert before.state == HEALTHY
    with pytest.raises(errors.FailedPrecondition, match="paused"):
        await checked(one, container)
    await client.call(one.stub.UnpauseContainer(pb.UnpauseContainerRequest(container=container)))
    async with asyncio.timeout(10):
        while (await one.get(container)).status.health == before:
            await asyncio.sleep(0.02)
    await client.call(one.stub.StopContainer(pb.StopContainerRequest(container=container, grace_ms=0)))
    assert (await one.get(container)).status.health.state == UNHEALTHY
    with pytest.raises(errors.FailedPrecondition, match="not running"):
        await checked(one, container)


async def checked(yard: Yard, container: str) -> pb.CheckHealthResponse:
    """Have the check run now."""
    return await client.call(yard.stub.CheckHealth(pb.CheckHealthRequest(container=container)))


async def test_on_demand(one: Yard) -> None:
    health = check("CMD-SHELL", ON_FLAG, interval_ms=600_000)
    container = await one.create("sleep", "100", health=health)
    await one.start(container)
    response = await checked(one, container)
    assert (response.result.exit_code, response.health.state) == (0, HEALTHY)
    (await inside(one, container, FLAG)).touch()
    responses = await asyncio.gather(*(checked(one, container) for _ in range(3)))
    assert {(item.result.exit_code, item.result.output) for item in responses} == {(1, "ill\n")}
    without = await one.create("sleep", "100", health=spec_pb2.HealthCheck(test=["NONE"]))
    await one.start(without)
    with pytest.raises(errors.FailedPrecondition, match="no health check"):
        await checked(one, without)
    assert not (await one.get(without)).status.HasField("health")


@pytest.mark.parametrize(
    ("action", "state", "code"),
    [
        (spec_pb2.HEALTH_ACTION_KILL, pb.CONTAINER_STATE_EXITED, 137),
        (spec_pb2.HEALTH_ACTION_STOP, pb.CONTAINER_STATE_EXITED, 5),
    ],
)
async def test_an_unhealthy_one_is_taken_down(one: Yard, action: int, state: int, code: int) -> None:
    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    restart = always if action == spec_pb2.HEALTH_ACTION_STOP else None  # a stop holds against the policy
    container = await one.create(
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.1; done",
        health=check("CMD-SHELL", ON_FLAG, on_failure=action),
        restart=restart,
    )
    await one.start(container)
    await until_health(one, container, HEALTHY)
    (await inside(one, container, FLAG)).touch()
    found = await one.until_state(container, state)
    assert (found.status.exit_code, found.status.error) == (code, "unhealthy container: ill")
    await asyncio.sleep(0.3)
    assert (await one.get(container)).status.state == state


async def test_an_unhealthy_one_is_restarted(one: Yard) -> None:
    health = check("CMD-SHELL", ON_FLAG, on_failure=spec_pb2.HEALTH_ACTION_RESTART)
    script = f"rm -f {FLAG}; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    container = await one.create("sh", "-c", script, health=health, auto_remove=True)
    pid = await one.start(container)
    await until_health(one, container, HEALTHY)
    (await inside(one, container, FLAG)).touch()
    async with asyncio.timeout(20):
        while (found := await one.get(container)).status.restart_count == 0:
            await asyncio.sleep(0.02)
    found = await until_health(one, container, HEALTHY)
    assert (found.status.restart_count, found.status.pid == pid) == (1, False)
    assert found.status.state == pb.CONTAINER_STATE_RUNNING


async def test_many_hanging_checks_hold_up_nothing(one: Yard) -> None:
    hanging = [
        await one.create("sleep", "100", health=check("CMD", "sleep", "5432", timeout_ms=60_000))
        for _ in range(6)
    ]
    await asyncio.gather(*(one.start(container) for container in hanging))
    async with asyncio.timeout(20):
        while not processes("5432"):
            await asyncio.sleep(0.02)
    container = await one.create("sleep", "100", health=check("CMD", "true"))
    await one.start(container)
    await until_health(one, container, HEALTHY)
    await asyncio.gather(*(one.remove(each) for each in hanging))
    await until_none("5432")


async def test_the_state_outlives_the_daemon(own_each: Yard) -> None:
    container = await own_each.create("sleep", "100", health=check("CMD-SHELL", ON_FLAG))
    await own_each.start(container)
    await until_health(own_each, container, HEALTHY)
    flag = await inside(own_each, container, FLAG)
    flag.touch()
    before = await until_health(own_each, container, UNHEALTHY)
    await own_each.kill_daemon()
    await own_each.start_daemon()
    found = await own_each.get(container)
    assert found.status.health.state == UNHEALTHY
    assert found.status.health.failing_streak >= before.status.health.failing_streak
    flag.unlink()
    await until_health(own_each, container, HEALTHY)


async def test_the_daemon_dies_in_the_middle_of_a_check(own_each: Yard) -> None:
    await own_each.kill_daemon()
    await own_each.start_daemon(fault="health.started")
    health = check("CMD-SHELL", "sleep 6543; true", timeout_ms=60_000)
    container = await own_each.create("sleep", "100", health=health)
    await own_each.start(container)
    await own_each.daemon_gone()
    await own_each.start_daemon()
    assert (await own_each.get(container)).status.health.state == STARTING
    async with asyncio.timeout(20):
        while len(processes("6543")) != 1:
            await asyncio.sleep(0.02)
    await own_each.remove(container)
    await until_none("6543")


@pytest.mark.parametrize("action", [spec_pb2.HEALTH_ACTION_KILL, spec_pb2.HEALTH_ACTION_RESTART])
async def test_the_daemon_dies_before_it_acts(own: Yard, action: int) -> None:
    await own.kill_daemon()
    await own.start_daemon(fault="health.stop_recorded")
    health = check("CMD-SHELL", ON_FLAG, on_failure=action)
    container = await own.create(
        "sh", "-c", f"touch {FLAG}; exec sleep 100", health=health, stop_signal="KILL"
    )
    pid = await own.start(container)
    await own.daemon_gone()
    os.kill(pid, signal.SIGCONT)  # it runs
    await own.start_daemon()
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.02)
    if action == spec_pb2.HEALTH_ACTION_KILL:
        assert (await own.until_state(container, pb.CONTAINER_STATE_EXITED)).status.exit_code == 137


async def test_its_events(one: Yard) -> None:
    health = check("CMD-SHELL", ON_FLAG, interval_ms=600_000, retries=1)
    container = await one.create("sleep", "100", health=health)
    since = Timestamp()
    since.GetCurrentTime()
    await one.start(container)
    await checked(one, container)
    (await inside(one, container, FLAG)).touch()
    await checked(one, container)
    filters = {
        "container": filter_pb2.StringList(values=[container]),
        "event": filter_pb2.StringList(values=["exec_create", "exec_die", "health_status"]),
    }
    until = Timestamp()
    until.GetCurrentTime()
    call = one.stub.WatchEvents(pb.WatchEventsRequest(since=since, until=until, filters=filters))
    actions = [response.event.action async for response in client.stream(call)]
    run = [f"exec_create: /bin/sh -c {ON_FLAG}", "exec_die"]
    assert actions == [*run, "health_status: healthy", *run, "health_status: unhealthy"]
