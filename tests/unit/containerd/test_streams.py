"""The hub between conmon and users, with a socket that plays conmon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.attach import Typist
from services.containerd.streams import hub as hubs
from services.containerd.streams.buffer import JOIN_BYTES_MAX, Channel, ChunkBuffer
from services.containerd.streams.control import ControlFifo
from services.containerd.streams.hub import Client, Hub
from services.kit import errors
from services.kit.system import SystemClock


class FakeClock(SystemClock):
    """A clock that a test can put forward."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        """Return the time, put forward."""
        return super().monotonic() + self.ahead_s


class Conmon:
    """The other end of the attach socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(str(directory / "attach"))
        self._listener.listen()
        self.connection: socket.socket | None = None

    async def accept(self) -> socket.socket:
        """Wait for the hub to connect."""
        self.connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        return self.connection

    async def write(self, channel: int, data: bytes) -> None:
        """Send output."""
        assert self.connection is not None
        await asyncio.get_running_loop().sock_sendall(self.connection, bytes([channel]) + data)

    async def read(self) -> bytes:
        """Take input."""
        assert self.connection is not None
        return await asyncio.get_running_loop().sock_recv(self.connection, 1 << 20)

    def close(self) -> None:
        """Go away."""
        if self.connection is not None:
            self.connection.close()
        self._listener.close()


@pytest.fixture
async def conmon(socket_dir: Path) -> AsyncIterator[Conmon]:
    made = Conmon(socket_dir)
    yield made
    made.close()


@contextlib.asynccontextmanager
async def attached(hub: Hub, conmon: Conmon) -> AsyncIterator[Client]:
    """A client that was there before the start."""
    async with hub.client(stdout=True, stderr=True) as client:
        await hub.begin(conmon.directory, stays=True)
        await conmon.accept()
        yield client
        conmon.close()
        await hub.end()


async def test_output_reaches_everybody_and_ends(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    async with attached(hub, conmon) as first, hub.client(stdout=True, stderr=False) as second:
        await conmon.write(2, b"out")
        await conmon.write(3, b"err")
        await conmon.write(9, b"unknown kind")
        assert await first.read() == (Channel.STDOUT, b"out")
        assert await first.read() == (Channel.STDERR, b"err")
        assert await second.read() == (Channel.STDOUT, b"out")
        await conmon.write(2, b"last")
        conmon.close()
        await hub.end()
        assert await first.read() == (Channel.STDOUT, b"last")
        assert await first.read() is None
        assert await second.read() == (Channel.STDOUT, b"last")
        assert await second.read() is None


async def test_input_goes_in_packets_that_conmon_takes(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    async with attached(hub, conmon):
        data = os.urandom(100_000)
        async with asyncio.TaskGroup() as group:
            group.create_task(hub.write_stdin(data))
            got = b""
            while len(got) < len(data):
                packet = await conmon.read()
                assert len(packet) <= hubs.STDIN_PACKET_BYTES_MAX
                got += packet
        assert got == data
        await hub.end_stdin()
        assert await conmon.read() == b""
    await hub.write_stdin(b"too late")


async def test_input_that_nobody_reads_loses_no_output(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    async with attached(hub, conmon) as client:
        await hub.write_stdin(b"unread")
        await conmon.write(2, b"last")
        conmon.close()
        await hub.end()
        assert await client.read() == (Channel.STDOUT, b"last")
        assert await client.read() is None


async def test_the_end_while_input_waits_for_room(conmon: Conmon) -> None:
    """The descriptor must not be closed under the event loop's feet."""
    hub = Hub(SystemClock())
    async with attached(hub, conmon):
        writing = asyncio.ensure_future(hub.write_stdin(bytes(64 << 20)))
        await asyncio.sleep(0.05)
        assert not writing.done()
        conmon.close()
        await hub.end()
        await asyncio.wait_for(writing, 5)
    read_fd, write_fd = os.pipe()  # takes the number of the closed descriptor
    os.set_blocking(read_fd, False)
    asyncio.get_running_loop().add_reader(read_fd, lambda: None)
    asyncio.get_running_loop().remove_reader(read_fd)
    os.close(read_fd)
    os.close(write_fd)


async def test_back_pressure_for_one_who_was_there_before_the_start(
    conmon: Conmon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "BUFFER_BYTES_MAX", 64 << 10)
    clock = FakeClock()
    hub = Hub(clock)
    async with attached(hub, conmon) as client:
        total = 4 << 20

        async def flood() -> None:
            for _ in range(total // 4096):
                await conmon.write(2, bytes(4096))

        flooding = asyncio.ensure_future(flood())
        await asyncio.sleep(0.1)
        assert not flooding.done()
        assert client.buffer.size_bytes <= (64 << 10) + 64 * 4096
        clock.ahead_s += 10 * hubs.STALL_MAX_S
        hub.check_stalls()
        assert not client.dropped
        got = 0
        while got < total:
            chunk = await client.read()
            assert chunk is not None
            got += len(chunk[1])
        await flooding


async def test_one_who_came_later_is_dropped_when_it_does_not_read(
    conmon: Conmon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "BUFFER_BYTES_MAX", 64 << 10)
    clock = FakeClock()
    hub = Hub(clock)
    async with attached(hub, conmon) as first, hub.client(stdout=True, stderr=True) as late:
        drained = asyncio.ensure_future(_drain(first))
        flooding = asyncio.ensure_future(_flood(conmon, 1 << 20))
        await asyncio.sleep(0.1)
        assert not flooding.done()
        hub.check_stalls()
        assert not late.dropped
        clock.ahead_s += hubs.STALL_MAX_S + 1
        hub.check_stalls()
        with pytest.raises(errors.Exhausted):
            await late.read()
        await flooding
        conmon.close()
        await hub.end()
        assert await drained == 1 << 20


async def test_the_death_of_the_init_lifts_the_back_pressure(
    conmon: Conmon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "BUFFER_BYTES_MAX", 16 << 10)
    hub = Hub(SystemClock())
    async with attached(hub, conmon) as client:
        flooding = asyncio.ensure_future(_flood(conmon, 2 << 20))
        await asyncio.sleep(0.1)
        assert not flooding.done()
        hub.init_died()
        await asyncio.wait_for(flooding, 5)
        assert client.buffer.size_bytes > 16 << 10


@pytest.mark.parametrize(
    ("once", "draining", "ends"), [(True, False, True), (True, True, False), (False, False, False)]
)
async def test_whose_going_ends_the_input(conmon: Conmon, once: bool, draining: bool, ends: bool) -> None:
    hub, stopping = Hub(SystemClock()), asyncio.Event()

    async def requests() -> AsyncIterator[pb.AttachContainerRequest]:
        yield pb.AttachContainerRequest(stdin=b"typed")
        await asyncio.Event().wait()

    async def resize(_size: pb.TerminalSize) -> None:
        pass

    async def answer(typist: Typist) -> None:
        async with typist.beside(requests()):
            assert await conmon.read() == b"typed"
            if draining:
                stopping.set()
            raise asyncio.CancelledError

    async with attached(hub, conmon) as client:
        with pytest.raises(asyncio.CancelledError):
            await answer(Typist(hub, resize, client, b"", once=once, draining=stopping))
        await hub.write_stdin(b"more")
        assert await conmon.read() == (b"" if ends else b"more")


@pytest.mark.parametrize("watched", [True, False])
async def test_input_that_ends_before_the_start_ends_with_it(conmon: Conmon, watched: bool) -> None:
    hub = Hub(SystemClock())
    hub.cut_stdin()
    async with contextlib.AsyncExitStack() as stack:
        if watched:
            await stack.enter_async_context(hub.client(stdout=True, stderr=True))
        await hub.begin(conmon.directory, stays=True)
        with await conmon.accept():
            assert await conmon.read() == b""
            if watched:
                await conmon.write(2, b"output goes on")
        await hub.end()
    hub.cut_stdin()
    hub.expect_input()  # another one has come
    async with attached(hub, conmon):
        await hub.write_stdin(b"typed")
        assert await conmon.read() == b"typed"


async def test_input_of_a_start_that_the_daemon_did_not_survive_is_over(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    await hub.begin(conmon.directory, stays=True, input_over=True)
    await conmon.accept()
    assert await conmon.read() == b""


async def test_nobody_is_connected_for_nobody(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    await hub.begin(conmon.directory, stays=False)
    async with hub.client(stdout=True, stderr=True):
        await conmon.accept()
    assert await conmon.read() == b"", "the last one has left"
    await hub.end()
    gone = Hub(SystemClock())
    await gone.begin(conmon.directory / "nowhere", stays=False)
    async with gone.client(stdout=True, stderr=True) as client:
        await gone.end()
        assert await client.read() is None


async def test_so_many_clients(conmon: Conmon) -> None:
    hub = Hub(SystemClock())
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(hubs.CLIENTS_MAX):
            await stack.enter_async_context(hub.client(stdout=True, stderr=True))
        with pytest.raises(errors.Exhausted):
            await stack.enter_async_context(hub.client(stdout=True, stderr=True))


def test_chunks_are_joined_within_bounds() -> None:
    buffer = ChunkBuffer()
    assert buffer.take() is None
    for _ in range(3):
        buffer.put(Channel.STDOUT, bytes(JOIN_BYTES_MAX // 2))
    buffer.put(Channel.STDERR, b"e")
    sizes = []
    while (chunk := buffer.take()) is not None:
        sizes.append((chunk[0], len(chunk[1])))
    assert sizes == [
        (Channel.STDOUT, JOIN_BYTES_MAX),
        (Channel.STDOUT, JOIN_BYTES_MAX // 2),
        (Channel.STDERR, 1),
    ]
    assert buffer.size_bytes == 0


async def test_control_lines_are_kept_apart_and_sizes_coalesced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ctl")
    fd = os.open(tmp_path / "ctl", os.O_RDWR | os.O_NONBLOCK)
    try:
        control = ControlFifo(tmp_path, SystemClock())
        await asyncio.gather(*(control.resize(number, 80) for number in range(20)), control.reopen_log())
        lines = os.read(fd, 4096).decode().splitlines()
        assert len(lines) < 10
        assert [line for line in lines if line.startswith("1 ")][-1] == "1 19 80"
        assert "2 0 0" in lines
        await control.begin()
        assert os.read(fd, 4096) == b"1 19 80\n"
    finally:
        os.close(fd)
    await control.resize(1, 1)
    await ControlFifo(tmp_path / "none", SystemClock()).resize(1, 1)


async def _drain(client: Client) -> int:
    total = 0
    while (chunk := await client.read()) is not None:
        total += len(chunk[1])
    return total


async def _flood(conmon: Conmon, total: int) -> None:
    for _ in range(total // 4096):
        await conmon.write(2, bytes(4096))
