"""Commands that follow a container go on when its daemon dies and comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from cli.commands import foreground
from services.kit.rpc import client
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

SCRIPT = "echo begun; until test -e /tmp/go; do sleep 0.05; done; echo ended; exit 7"


class Command:
    """A swarmctl that runs beside the test."""

    def __init__(self, yard: Yard, *arguments: str, stdin: int = subprocess.DEVNULL) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{os.getcwd()}/protos:{os.getcwd()}",
            "BEEYARD_HOST": f"unix://{yard.run}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def type(self, text: str) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    async def end(self) -> tuple[int, str, str]:
        """Return code and outputs."""
        out, err = await asyncio.to_thread(self.process.communicate, timeout=30)
        return self.process.returncode, out.decode(), err.decode()


async def until_running(yard: Yard, count: int) -> list[pb.Container]:
    """Wait for so many containers whose program has begun."""
    async with asyncio.timeout(20):
        while True:
            found = [each for each in await yard.list() if each.status.state == pb.CONTAINER_STATE_RUNNING]
            logs = [await yard.text(each.id) for each in found]
            if len(found) == count and all(logs):
                return found
            await asyncio.sleep(0.05)


async def test_followers_wait_for_the_daemon(own: Yard) -> None:
    runs = [
        Command(own, "run", "--network", "none", "--name", "kept", "busybox", "sh", "-c", SCRIPT),
        Command(own, "run", "--network", "none", "--rm", "--name", "brief", "busybox", "sh", "-c", SCRIPT),
        # What `run -i` sends ends with the daemon, which holds it: the process must not take that for all there is.
        Command(
            own, "run", "-i", "--network", "none", "--name", "fed", "busybox",
            "sh", "-c", "read a; echo $a; cat; exit 5", stdin=subprocess.PIPE,
        ),
    ]  # fmt: skip
    runs[2].type("first\n")
    talker = await own.create(
        "sh", "-c", "echo begun; read a; echo $a; read a; echo $a", name="talker", open_stdin=True
    )
    await own.start(talker)
    containers = {each.name: each for each in await until_running(own, 4)}
    attached = Command(own, "attach", "talker", stdin=subprocess.PIPE)
    attached.type("before\n")
    async with asyncio.timeout(20):
        while "before" not in await own.text(talker):
            await asyncio.sleep(0.05)
    followers = [
        Command(own, "wait", "kept", "brief"),
        Command(own, "logs", "-f", "kept"),
        Command(own, "attach", "--no-stdin", "kept"),
    ]
    await asyncio.sleep(1.0)
    await own.kill_daemon()
    # One ends while nobody is there, the other after the daemon is back.
    _go(containers["brief"].status.pid)
    async with asyncio.timeout(10):
        while Path(f"/proc/{containers['brief'].status.pid}").exists():
            await asyncio.sleep(0.05)
    await own.start_daemon()
    await asyncio.sleep(1.0)
    _go(containers["kept"].status.pid)
    assert await runs[0].end() == (7, "begun\nended\n", "")
    code, out, err = await runs[1].end()
    assert code == 7
    # --rm may have taken the log away before it was asked for.
    assert (out, err) == ("begun\nended\n", "") or (
        out == "begun\n" and err.startswith("Warning: output may")
    )
    assert await followers[0].end() == (0, "7\n7\n", "")
    assert await followers[1].end() == (0, "begun\nended\n", "")
    assert await followers[2].end() == (7, "ended\n", f"{foreground.GAP}\n")
    assert await runs[2].end() == (5, "first\n", f"{foreground.INPUT_ENDED}\n")
    attached.type("after\n")
    assert await attached.end() == (
        0, "before\nafter\n", f"{foreground.INPUT_GAP}\n{foreground.GAP}\n",
    )  # fmt: skip


async def test_nothing_of_a_run_is_lost_or_repeated(own: Yard) -> None:
    script = (
        "i=0; while ! test -e /tmp/go; do echo line $i; echo error $i >&2; printf 'part ';"
        " i=$((i+1)); sleep 0.01; done; printf last; exit 7"
    )
    options = ("--network", "none", "--name", "kept", "--log-opt", "max-size=8k", "--log-opt", "max-file=900")
    run = Command(own, "run", *options, "busybox", "sh", "-c", script)
    (container,) = await until_running(own, 1)
    for _ in range(2):
        await asyncio.sleep(0.7)
        await own.kill_daemon()
        await asyncio.sleep(0.5)
        await own.start_daemon()
    await asyncio.sleep(0.7)
    _go(container.status.pid)
    code, out, err = await run.end()
    lines = await own.logs("kept")
    written = {
        stream: b"".join(line.data for line in lines if line.stream == stream).decode()
        for stream in (pb.OUTPUT_STREAM_STDOUT, pb.OUTPUT_STREAM_STDERR)
    }
    assert code == 7
    assert out == written[pb.OUTPUT_STREAM_STDOUT]
    assert err == written[pb.OUTPUT_STREAM_STDERR]
    assert out.endswith("part last")


async def test_what_the_log_has_dropped_is_told(own: Yard) -> None:
    script = "until test -e /tmp/go; do seq 1000; sleep 0.05; done; exit 7"
    options = ("--network", "none", "--name", "kept", "--log-opt", "max-size=4k", "--log-opt", "max-file=2")
    run = Command(own, "run", *options, "busybox", "sh", "-c", script)
    (container,) = await until_running(own, 1)
    await asyncio.sleep(2.5)
    await own.kill_daemon()
    await own.start_daemon()
    await asyncio.sleep(0.5)
    _go(container.status.pid)
    code, _, err = await run.end()
    assert code == 7
    assert "output may be missing" in err


@pytest.mark.parametrize("point", ["create.recorded", "start.recorded", "start.running_recorded"])
async def test_a_run_is_made_once(own: Yard, point: str) -> None:
    await own.kill_daemon()
    await own.start_daemon(fault=point)
    script = "echo begun; exit 7"
    run = Command(own, "run", "--network", "none", "--name", "one", "busybox", "sh", "-c", script)
    await own.daemon_gone()
    await own.start_daemon()
    code, _, err = await run.end()
    assert (code, err) == (7, "")
    assert [each.name for each in await own.list()] == ["one"]
    assert await own.text("one") == "begun\n"


async def test_the_end_of_what_is_gone_is_known_by_its_id(one: Yard) -> None:
    container, _ = await one.run_to_end("sh", "-c", "exit 3")
    await one.remove(container)
    responses = client.stream(one.stub.WaitContainer(pb.WaitContainerRequest(container=container)))
    assert [response.exit.exit_code async for response in responses if response.HasField("exit")] == [3]


def _go(pid: int) -> None:
    """Make the file that a container waits for."""
    (Path("/proc") / str(pid) / "root" / "tmp/go").touch()
