"""Attach, terminals, standard input, logs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


class Attached:
    """A user at a container's streams."""

    def __init__(self, yard: Yard, container: str, **fields: Any) -> None:
        self._requests: asyncio.Queue[pb.AttachContainerRequest | None] = asyncio.Queue(64)
        opening = pb.AttachOpen(container=container, stdin=True, stdout=True, stderr=True, **fields)
        self._requests.put_nowait(pb.AttachContainerRequest(open=opening))
        self._call = yard.stub.AttachContainer(self._send())
        self._responses = client.stream(self._call)
        self.output = bytearray()
        self.errors = bytearray()

    async def opened(self) -> pb.AttachOpened:
        """Wait until the streams are joined."""
        first = await anext(self._responses)
        assert first.HasField("opened"), first
        return first.opened

    async def type(self, data: bytes) -> None:
        """Send input."""
        await self._requests.put(pb.AttachContainerRequest(stdin=data))

    async def end_input(self) -> None:
        """Close the container's stdin."""
        await self._requests.put(pb.AttachContainerRequest(stdin_end=pb.StdinEnd()))

    async def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size."""
        size = pb.TerminalSize(rows=rows, columns=columns)
        await self._requests.put(pb.AttachContainerRequest(resize=size))

    async def until(self, text: bytes) -> None:
        """Read until the output holds a text."""
        while text not in self.output:
            assert await self.read() is None, bytes(self.output)

    async def read(self) -> pb.AttachContainerResponse | None:
        """Read one message; return it if it is the last one."""
        response = await anext(self._responses)
        if not response.HasField("output"):
            await self.leave()
            return response
        stream = self.output if response.output.stream == pb.OUTPUT_STREAM_STDOUT else self.errors
        stream.extend(response.output.data)
        return None

    async def to_end(self) -> pb.AttachContainerResponse:
        """Read to the last message."""
        while (last := await self.read()) is None:
            pass
        return last

    async def leave(self) -> None:
        """Go away."""
        await self._requests.put(None)
        await self._responses.aclose()

    async def vanish(self) -> None:
        """Be gone without a word, as one that is killed."""
        self._call.cancel()
        await self._responses.aclose()

    async def _send(self) -> AsyncIterator[pb.AttachContainerRequest]:
        while (request := await self._requests.get()) is not None:
            yield request


async def test_a_foreground_run_misses_nothing(each: Yard) -> None:
    container = await each.create(
        "sh", "-c", "echo first; echo oops >&2; echo last; exit 3", auto_remove=True
    )
    user = Attached(each, container)
    assert not (await user.opened()).tty
    await each.start(container)
    last = await user.to_end()
    assert last.exit.exit_code == 3
    assert bytes(user.output) == b"first\nlast\n"
    assert bytes(user.errors) == b"oops\n"


async def test_piped_input_arrives_whole_and_ends(each: Yard) -> None:
    container = await each.create("cat", open_stdin=True, stdin_once=True)
    user = Attached(each, container)
    await user.opened()
    await each.start(container)
    block = bytes(range(256)) * 256  # 64 KiB
    total = 160  # 10 MiB

    async def type_all() -> None:
        for _ in range(total):
            await user.type(block)
        await user.end_input()

    async with asyncio.TaskGroup() as group:
        group.create_task(type_all())
        last = await user.to_end()
    assert last.exit.exit_code == 0
    assert hashlib.sha256(user.output).digest() == hashlib.sha256(block * total).digest()


async def test_terminal_size_detach_and_return(each: Yard) -> None:
    container = await each.create("sh", tty=True, open_stdin=True)
    user = Attached(each, container, size=pb.TerminalSize(rows=33, columns=111))
    assert (await user.opened()).tty
    await each.start(container)
    await user.type(b"stty size\n")
    await user.until(b"33 111")
    await user.resize(44, 122)
    await asyncio.sleep(0.1)
    await user.type(b"stty size; kept=yes\n")
    await user.until(b"44 122")
    await user.type(b"\x10\x11")
    assert (await user.to_end()).HasField("detached")

    again = Attached(each, container)
    await again.opened()
    await again.type(b"echo kept=$kept; exit 6\n")
    last = await again.to_end()
    assert last.exit.exit_code == 6
    assert b"kept=yes" in again.output
    await each.remove(container)
    assert each.remains() == []


def monitors(yard: Yard) -> list[int]:
    """Return the pids of the conmons of a yard, of execs too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes()
            if words.split(b"\0")[0].endswith(b"conmon") and os.fsencode(f"{yard.run}/") in words:
                found.append(int(entry.parent.name))
    return found


def ticks(pid: int) -> int:
    """Return how long a process has been on a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


_PASTED = b"".join(
    b"%06d\n" % number for number in range(100_000)
)  # more than a terminal and all sockets take


async def test_much_is_pasted_into_a_terminal(each: Yard) -> None:
    """What is read comes back whole, of a container's process and of a further one."""
    container = await each.create("sh", "-c", "stty raw -echo; echo go; cat", tty=True, open_stdin=True)
    user = Attached(each, container)
    await user.opened()
    await each.start(container)
    await user.until(b"go")

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        argv = ["sh", "-c", f"stty raw -echo; echo go; head -c {len(_PASTED)}"]
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=argv, stdin=True, tty=True))
        await going.wait()
        for start in range(0, len(_PASTED), 10_000):
            yield pb.ExecRequest(stdin=_PASTED[start : start + 10_000])
        await asyncio.Event().wait()

    going = asyncio.Event()
    output = b""
    async with asyncio.timeout(30):
        async for response in client.stream(each.stub.Exec(requests())):
            output += response.output.data
            if b"go" in output:
                going.set()
    assert output.removeprefix(b"go\n") == _PASTED

    async def paste() -> None:
        for start in range(0, len(_PASTED), 10_000):
            await user.type(_PASTED[start : start + 10_000])

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(paste())
        await user.until(_PASTED[-7:])
    assert user.output.removeprefix(b"go\n") == _PASTED
    await user.leave()


async def test_what_a_terminal_shows_comes_though_its_input_is_not_read(each: Yard) -> None:
    """And its end too, of a container's process and of a further one."""
    ticking = ["sh", "-c", "stty raw -echo; while :; do echo tick; sleep 0.1; done"]
    container = await each.create(*ticking, tty=True, open_stdin=True)
    user = Attached(each, container)
    await user.opened()
    await each.start(container)
    await user.until(b"tick")

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=ticking, stdin=True, tty=True))
        for start in range(0, 200_000, 10_000):
            yield pb.ExecRequest(stdin=_PASTED[start : start + 10_000])
        pasted.set()
        await asyncio.Event().wait()

    pasted = asyncio.Event()
    ticks, pid, ended = 0, 0, pb.ExecResponse()
    async with asyncio.timeout(30):
        async for response in client.stream(each.stub.Exec(requests())):
            pid = pid or response.started.pid
            ended = response
            if pasted.is_set() and ticks < 20:
                ticks += response.output.data.count(b"tick")
                if ticks >= 20:
                    os.kill(pid, signal.SIGKILL)
    assert ended.exit.exit_code == 137

    for start in range(0, 200_000, 10_000):
        await user.type(_PASTED[start : start + 10_000])
    await asyncio.sleep(1)
    user.output.clear()
    async with asyncio.timeout(20):
        await user.until(b"tick\n" * 20)
        await client.call(each.stub.KillContainer(pb.KillContainerRequest(container=container)))
        assert (await user.to_end()).exit.exit_code == 137


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipe"])
async def test_input_that_nobody_will_read_costs_nothing(each: Yard, tty: bool) -> None:
    """A process closes its standard input and lives on: conmon does not try again and again to write there."""
    leaving = ["sh", "-c", "exec <&- >&- 2>&-; exec sleep 1000"]
    container = await each.create(*leaving, tty=tty, open_stdin=True)
    user = Attached(each, container)
    await user.opened()
    await each.start(container)

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=leaving, stdin=True, tty=tty))
        for start in range(0, 300_000, 10_000):
            yield pb.ExecRequest(stdin=_PASTED[start : start + 10_000])
        pasted.set()
        await asyncio.Event().wait()

    pasted = asyncio.Event()
    responses = client.stream(each.stub.Exec(requests()))
    await anext(responses)
    for start in range(0, 300_000, 10_000):
        await user.type(_PASTED[start : start + 10_000])
    await pasted.wait()
    conmons = monitors(each)
    assert len(conmons) == 2
    async with asyncio.timeout(20):
        while True:
            before = [ticks(pid) for pid in conmons]
            await asyncio.sleep(0.3)
            if before == [ticks(pid) for pid in conmons]:
                break
    await responses.aclose()
    await user.leave()
    await each.remove(container)
    assert each.remains() == []


async def test_two_users_see_the_same(one: Yard) -> None:
    container = await one.create("sh", "-c", "read line; echo got $line; exit 0", open_stdin=True)
    users = [Attached(one, container) for _ in range(2)]
    for user in users:
        await user.opened()
    await one.start(container)
    await users[0].type(b"word\n")
    for user in users:
        await user.to_end()
        assert bytes(user.output) == b"got word\n"


async def test_attach_survives_nothing_but_the_container_does(own: Yard) -> None:
    container = await own.create("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    user = Attached(own, container)
    await user.opened()
    await own.start(container)
    await user.until(b"tick")
    await own.kill_daemon()
    with pytest.raises(errors.Unavailable):
        await user.to_end()
    await user.leave()
    await own.start_daemon()
    again = Attached(own, container)
    await again.opened()
    await again.until(b"tick")
    await again.leave()
    assert (await own.get(container)).status.state == pb.CONTAINER_STATE_RUNNING


async def test_input_ends_with_a_user_who_vanishes(one: Yard) -> None:
    """Of `run -i`, as docker has it; not of a container whose input is kept open."""
    once = await one.create("sh", "-c", "cat; exit 4", open_stdin=True, stdin_once=True)
    kept = await one.create("sh", "-c", "read a; echo $a; read a; echo $a", open_stdin=True)
    for container in (once, kept):
        user = Attached(one, container)
        await user.opened()
        await one.start(container)
        await user.type(b"typed\n")
        await user.until(b"typed\n")
        await user.vanish()
    ended = await one.until_state(once, pb.CONTAINER_STATE_EXITED)
    assert (ended.status.exit_code, await one.text(once)) == (4, "typed\n")
    user = Attached(one, once)
    await user.opened()
    await user.vanish()  # before the start
    await one.start(once)
    await one.until_state(once, pb.CONTAINER_STATE_EXITED)
    again = Attached(one, kept)
    await again.opened()
    await again.type(b"later\n")
    assert (await again.to_end()).exit.exit_code == 0
    assert await one.text(kept) == "typed\nlater\n"


async def test_nothing_is_left_of_an_exec_whose_user_vanishes(one: Yard) -> None:
    """Its input has ended, so it does. With a terminal it goes on, as with docker."""

    async def requests(tty: bool) -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=["cat"], stdin=True, tty=tty))
        yield pb.ExecRequest(stdin=b"typed\n")
        await asyncio.Event().wait()

    async def vanish(*, tty: bool = False) -> int:
        call = one.stub.Exec(requests(tty))
        pid = 0
        async for response in client.stream(call):
            pid = pid or response.started.pid
            if b"typed" in response.output.data:
                break
        call.cancel()
        return pid

    def left() -> tuple[int, int]:
        assert one.process is not None
        files = list(Path(f"/proc/{one.process.pid}/fd").iterdir())
        return len(files), len(list((one.run / "containerd/c" / container).glob("**/conmon.pid")))

    container = await one.create("sleep", "1000")
    await one.start(container)
    await execute(one, container, "true")
    before = left()
    pids = [await vanish() for _ in range(3)]
    kept = await vanish(tty=True)
    async with asyncio.timeout(20):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.05)
    assert Path(f"/proc/{kept}").exists()
    os.kill(kept, signal.SIGKILL)
    async with asyncio.timeout(20):
        while left() > before:
            await asyncio.sleep(0.05)


async def test_a_user_who_does_not_read_holds_up_nobody(one: Yard) -> None:
    """The buffers between fill up; the exit is seen all the same, and the log has everything."""
    container = await one.create("sh", "-c", "dd if=/dev/zero bs=1M count=24 2>/dev/null | od -v; exit 8")
    await one.start(container)
    idle = Attached(one, container)
    await idle.opened()
    found = await one.until_state(container, pb.CONTAINER_STATE_EXITED, seconds=60)
    assert found.status.exit_code == 8
    await idle.leave()


async def test_logs_follow_tail_and_since(one: Yard) -> None:
    script = "for n in 1 2 3; do echo line $n; done; sleep 0.3; echo err >&2; sleep 0.2; printf unfinished"
    container = await one.create("sh", "-c", script)
    await one.start(container)
    followed = await one.logs(container, follow=True)
    assert [line.data for line in followed] == [
        b"line 1\n",
        b"line 2\n",
        b"line 3\n",
        b"err\n",
        b"unfinished",
    ]
    tail = await one.logs(container, tail=2)
    assert [line.data for line in tail] == [b"err\n", b"unfinished"]
    since = await one.logs(container, since=followed[3].time)
    assert [line.data for line in since] == [b"err\n", b"unfinished"]
    until = await one.logs(container, until=followed[2].time)
    assert [line.data for line in until] == [b"line 1\n", b"line 2\n", b"line 3\n"]
    assert [line.data for line in await one.logs(container, no_stdout=True)] == [b"err\n"]
    assert await one.logs(container, tail=0) == []


async def test_logs_rotate_and_follow_over_rotations(one: Yard) -> None:
    log = spec_pb2.LogConfig(options={"max-size": "16k", "max-file": "3"})
    script = "n=0; while [ $n -lt 1500 ]; do n=$((n+1)); echo line number $n of the log; sleep 0.002; done"
    container = await one.create("sh", "-c", script, log=log)
    await one.start(container)
    followed = await one.logs(container, follow=True)
    assert [line.data for line in followed] == [b"line number %d of the log\n" % n for n in range(1, 1501)]
    directory = one.root / "containerd/containers" / container
    files = sorted(path.name for path in directory.iterdir())
    assert files == ["ctr.log", "ctr.log.1", "ctr.log.2"]
    kept = [line.data for line in await one.logs(container)]
    assert kept == [line.data for line in followed][-len(kept) :]
    # More than one file of 16 KiB has, and less than the two that are kept whole: what is too long is cut at the end.
    last = [line.data for line in await one.logs(container, tail=300)]
    assert last == [line.data for line in followed][-300:]


async def test_a_container_that_logs_nowhere(one: Yard) -> None:
    container, _ = await one.run_to_end("echo", "x", log=spec_pb2.LogConfig(driver="none"))
    with pytest.raises(errors.FailedPrecondition) as refused:
        await one.logs(container)
    assert refused.value.reason == "LOG_NOT_READABLE"
