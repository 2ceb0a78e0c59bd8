"""More processes in a running container."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def sleeper(yard: Yard, **fields: Any) -> str:
    container = await yard.create("sleep", "1000", **fields)
    await yard.start(container)
    return container


async def test_runs_beside_and_reports(each: Yard) -> None:
    container = await sleeper(each, env=["BASE=1"])
    output, last = await execute(each, container, "sh", "-c", "echo $BASE $OWN; id; pwd; exit 4", env=["OWN=2"],
                                 user="alice", working_dir="/tmp")  # fmt: skip
    assert last.exit.exit_code == 4
    assert b"1 2\n" in output
    assert b"uid=1000(alice)" in output
    assert output.endswith(b"/tmp\n")
    status, _ = await execute(each, container, "grep", "-E", "^(Seccomp|CapEff|CapInh):", "/proc/self/status")
    assert b"Seccomp:\t2" in status
    assert b"CapEff:\t00000000a80425fb" in status
    assert b"CapInh:\t0000000000000000" in status
    await each.remove(container)
    assert each.remains() == []


async def test_input_and_terminal(each: Yard) -> None:
    container = await sleeper(each)
    data = bytes(range(256)) * 1000
    output, last = await execute(each, container, "sha256sum", typed=data)

    assert output.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert last.exit.exit_code == 0
    output, _ = await execute(
        each,
        container,
        "sh",
        "-c",
        "sleep 0.2; stty size; tty",
        tty=True,
        size=pb.TerminalSize(rows=30, columns=99),
    )
    assert b"30 99" in output


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
async def test_what_cannot_be_executed(each: Yard, tty: bool) -> None:
    container = await sleeper(each)
    for program, code in (
        ("/no/such", "127"),
        ("nosuch", "127"),
        ("", "127"),
        ("/usr/local/bin/plain", "126"),
        ("/usr", "126"),
    ):
        with pytest.raises(errors.FailedPrecondition) as failed:
            await execute(each, container, program, tty=tty)
        assert failed.value.reason == "START_FAILED"
        assert failed.value.metadata["exit_code"] == code, failed.value.message
    with pytest.raises(errors.FailedPrecondition):
        await execute(each, container, "true", working_dir="/proc/self/fd/7")
    with pytest.raises(errors.Invalid):
        await execute(each, container)


async def test_only_where_something_runs(one: Yard) -> None:
    container = await one.create("sleep", "1000")
    with pytest.raises(errors.FailedPrecondition) as refused:
        await execute(one, container, "true")
    assert refused.value.reason == "CONTAINER_NOT_RUNNING"
    await one.start(container)
    await client.call(one.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    with pytest.raises(errors.FailedPrecondition) as refused:
        await execute(one, container, "true")
    assert refused.value.reason == "CONTAINER_PAUSED"


async def test_detached_and_the_end_of_the_container(one: Yard) -> None:
    container = await sleeper(one)
    _, last = await execute(one, container, "sh", "-c", "echo made > /tmp/made; sleep 1000", detach=True)
    assert last.started.pid > 0
    async with asyncio.timeout(10):
        while (await execute(one, container, "cat", "/tmp/made"))[0] != b"made\n":
            await asyncio.sleep(0.05)
    running = asyncio.ensure_future(execute(one, container, "sleep", "1000"))
    await asyncio.sleep(0.3)
    await one.remove(container)
    _, last = await running
    assert last.exit.exit_code == 137
    assert one.remains() == []


async def test_the_container_ends_under_starts(each: Yard) -> None:
    """Runtime and conmon fail in a dozen ways then, or without a word: it is one error for all of them."""
    for kills in range(6):
        container = await sleeper(each)
        starts = [
            asyncio.ensure_future(execute(each, container, "true", tty=tty)) for tty in (False, True) * 2
        ]
        await asyncio.sleep(0.01 * (kills + 1))
        await client.call(each.stub.KillContainer(pb.KillContainerRequest(container=container)))
        for failed in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(failed, BaseException):
                assert isinstance(failed, errors.FailedPrecondition), failed
                assert failed.reason == "CONTAINER_NOT_RUNNING", failed
        await each.remove(container)


async def test_after_a_restart_of_the_daemon(own: Yard) -> None:
    container = await sleeper(own)
    await execute(own, container, "sleep", "1000", detach=True)
    await own.kill_daemon()
    await own.start_daemon()
    output, _ = await execute(own, container, "echo", "still")
    assert output == b"still\n"
    await own.remove(container)
    assert own.remains() == []


@pytest.mark.slow
async def test_many_in_a_row_leak_nothing(own: Yard) -> None:
    container = await sleeper(own)
    assert own.process is not None

    descriptors = Path(f"/proc/{own.process.pid}/fd")

    async def some(count: int) -> int:
        for _ in range(count):
            _, last = await execute(own, container, "true")
            assert last.exit.exit_code == 0
        return len(list(descriptors.iterdir()))

    before = await some(5)
    assert await some(60) <= before + 2
    assert len(list((own.run / f"containerd/c/{container}/exec").iterdir())) == 0


@pytest.mark.parametrize(
    "fields", [{"user": "nobody-here"}, {"user": "root:no-group"}, {"working_dir": "relative"}]
)
async def test_what_the_container_lacks_is_a_failure_of_the_start(one: Yard, fields: dict[str, str]) -> None:
    container = await sleeper(one)
    with pytest.raises(errors.FailedPrecondition) as failed:
        await execute(one, container, "true", **fields)
    assert failed.value.reason == "START_FAILED"
    assert failed.value.metadata["exit_code"] == "126"


async def test_detach_keys_are_checked_without_a_terminal_too(one: Yard) -> None:
    container = await sleeper(one)
    with pytest.raises(errors.Invalid, match="detach key"):
        await execute(one, container, "true", detach_keys="foo")


async def test_those_that_run_are_seen(one: Yard) -> None:
    container = await sleeper(one)
    assert (await one.get(container)).exec_ids == []
    started = []
    for _ in range(2):
        _, last = await execute(one, container, "sleep", "100", detach=True)
        started.append(last.started.exec_id)
    assert sorted((await one.get(container)).exec_ids) == sorted(started)
