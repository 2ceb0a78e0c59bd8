"""The streams of one container.

conmon writes to its clients blocking: one that does not read holds up the log and the exit file too. So the daemon is
the only client, reads always, and gives every end user a bounded buffer. When a buffer is full there are two cases:
  - a user who attached before the start (`run` in the foreground) gets back pressure without end, as a pipe would;
  - one who attached later gets it for `STALL_MAX_S`, then is dropped: watching must not stop what others depend on.
Once the init is dead nothing holds the reading back any more: what is left in the pipes is small, and the exit waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Self

from services.containerd.streams.buffer import Channel, ChunkBuffer
from services.kit import errors, log

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from services.kit.seams import Clock

_log = log.get(__name__)

BUFFER_BYTES_MAX = 4 << 20
STALL_MAX_S = 10.0
CLIENTS_MAX = 64
STDIN_PACKET_BYTES_MAX = 32 << 10
"""conmon cuts larger packets, silently."""
_PACKET_BYTES_MAX = 8 << 10
_PACKETS_PER_WAKE_MAX = 64
_DRAIN_MAX_S = 2.0


class Client:
    """One end user's view of the streams: `async with` bounds it, `read` takes output."""

    def __init__(self, hub: Hub, *, stdout: bool, stderr: bool, patient: bool) -> None:
        self._hub = hub
        self._wanted = {
            channel for channel, wanted in ((Channel.STDOUT, stdout), (Channel.STDERR, stderr)) if wanted
        }
        self.patient = patient
        self.buffer = ChunkBuffer()
        self.full_since: float | None = None
        self.dropped = False
        self.ended = False
        self._wakeup = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._hub.join(self)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._hub.leave(self)

    async def read(self) -> tuple[Channel, bytes] | None:
        """Return the next output, None when the run has ended and all was read.

        Raises:
            errors.Exhausted: The client read too slowly for too long (ATTACH_TOO_SLOW).
        """
        while True:
            chunk = self.buffer.take()
            if chunk is not None:
                self._hub.drained(self)
                return chunk
            if self.dropped:
                raise errors.Exhausted(
                    f"the client did not read for {STALL_MAX_S:g} s while output was waiting",
                    reason="ATTACH_TOO_SLOW",
                )
            if self.ended:
                return None
            self._wakeup.clear()
            await self._wakeup.wait()

    def put(self, channel: Channel, data: bytes) -> None:
        """Take output, if this client wants that stream."""
        if channel in self._wanted and not self.dropped:
            self.buffer.put(channel, data)
            self._wakeup.set()

    def finish(self) -> None:
        """Let `read` return None when all was read."""
        self.ended = True
        self._wakeup.set()

    def drop(self) -> None:
        """Give this client up."""
        self.dropped = True
        self.buffer.clear()
        self._wakeup.set()


class Hub:
    """Connects to conmon when somebody wants to see or type, and fans out.

    Lives as long as the container's object in the daemon, through any number of runs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: set[Client] = set()
        self._directory: Path | None = None
        self._stays = False
        self._socket: socket.socket | None = None
        self._reading = False
        self._init_dead = False
        self._input_over = False
        """The next run's input ends before it begins."""
        self._eof = asyncio.Event()
        self._stdin_lock = asyncio.Lock()
        self._held_open: list[int] = []

    @property
    def clients(self) -> int:
        """How many are attached."""
        return len(self._clients)

    def client(self, *, stdout: bool, stderr: bool) -> Client:
        """Return a view, which begins when its `async with` block is entered; before the start misses nothing."""
        return Client(self, stdout=stdout, stderr=stderr, patient=self._directory is None)

    async def begin(self, directory: Path, *, stays: bool, input_over: bool = False) -> None:
        """A run exists whose bundle is `directory`; its program does not execute yet.

        Args:
            directory: The bundle: conmon's socket is in it.
            stays: Leaving would end the container's stdin: once connected, stay so until the end of the run.
            input_over: Nobody will type, and nobody else's turn comes.
        """
        self._directory = directory
        self._stays = stays
        self._init_dead = False
        self._eof.clear()
        if input_over or self._input_over:
            self._connect()
            self._input_over = False
            self.cut_stdin()
            if not self._clients:
                self._disconnect()
        elif self._clients:
            self._connect()

    def hold(self, descriptors: list[int]) -> None:
        """Keep descriptors until the end of the run, see `runtime.terminals`."""
        self._held_open += descriptors

    def init_died(self) -> None:
        """The init is dead: nothing holds back the reading any more."""
        self._init_dead = True
        self._resume()

    async def end(self) -> None:
        """The run is over: read what is left, then end all clients."""
        self.init_died()
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_MAX_S):
                    await self._eof.wait()
        self._disconnect()
        self._directory = None
        while self._held_open:
            os.close(self._held_open.pop())
        for client in self._clients:
            client.finish()

    async def join(self, client: Client) -> None:
        """Add a client; called by it."""
        if len(self._clients) >= CLIENTS_MAX:
            raise errors.Exhausted(f"{CLIENTS_MAX} clients are attached already", reason="ATTACH_LIMIT")
        self._clients.add(client)
        if self._directory is not None:
            self._connect()

    def leave(self, client: Client) -> None:
        """Remove a client; called by it."""
        self._clients.discard(client)
        client.buffer.clear()
        if self._clients or self._stays:
            self._resume()
        else:
            self._disconnect()

    def drained(self, client: Client) -> None:
        """A client has read; called by it."""
        if client.buffer.size_bytes < BUFFER_BYTES_MAX // 2:
            client.full_since = None
            self._resume()

    def expect_input(self) -> None:
        """Somebody is there who will type, whoever went before."""
        self._input_over = False

    async def write_stdin(self, data: bytes) -> None:
        """Type into the container, waiting for room. Input for one that has ended, or has no stdin, is dropped."""
        async with self._stdin_lock:
            connection = self._socket
            if connection is None:
                return
            try:
                for offset in range(0, len(data), STDIN_PACKET_BYTES_MAX):
                    packet = data[offset : offset + STDIN_PACKET_BYTES_MAX]
                    await asyncio.get_running_loop().sock_sendall(connection, packet)
            except OSError:
                return
            finally:
                if connection is not self._socket:
                    connection.close()  # given up while we waited, see `_disconnect`

    async def end_stdin(self) -> None:
        """Close the container's stdin; output goes on."""
        async with self._stdin_lock:
            self.cut_stdin()

    def cut_stdin(self) -> None:
        """Close the container's stdin at once: whoever waits for room to type gives up. What was sent arrives.

        Before a run it is closed when that begins.
        """
        if self._directory is None:
            self._input_over = True
        elif self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def give_up(self) -> None:
        """The start was given up, nobody will tell the end of the run: the last client's leaving ends the stdin."""
        self._stays = False

    def check_stalls(self) -> None:
        """Drop clients that have been full for too long; to be called once a second or so."""
        now = self._clock.monotonic()
        for client in list(self._clients):
            stalled = client.full_since is not None and now - client.full_since > STALL_MAX_S
            if stalled and not client.patient and not client.dropped:
                _log.warning("attach_client_dropped", buffered_bytes=client.buffer.size_bytes)
                client.drop()
                client.full_since = None
        self._resume()

    def _connect(self) -> None:
        if self._socket is not None or self._directory is None:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            # Through the directory's descriptor: a path of any depth fits into a socket address.
            fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{fd}/attach")
            finally:
                os.close(fd)
        except OSError:
            connection.close()  # it has ended meanwhile: its end is told elsewhere
            self._eof.set()
            return
        self._socket = connection
        self._resume()

    def _disconnect(self) -> None:
        """Give the connection up.

        Somebody may wait for room to write: then the descriptor is registered with the event loop, and closing it here
        would leave the registration to whoever gets the number next. The shutdown ends that wait; the writer closes.
        """
        if self._socket is None:
            return
        self._pause()
        connection, self._socket = self._socket, None
        if self._stdin_lock.locked():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.close()

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._reading = False

    def _resume(self) -> None:
        if self._reading or self._socket is None or self._eof.is_set() or self._held():
            return
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        self._reading = True

    def _held(self) -> bool:
        return not self._init_dead and any(client.full_since is not None for client in self._clients)

    def _read(self) -> None:
        assert self._socket is not None, "read without a connection"
        for _ in range(_PACKETS_PER_WAKE_MAX):
            try:
                packet = self._socket.recv(_PACKET_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # conmon has gone without reading all input; what it wrote before comes after this, once told
            except OSError:
                packet = b""
            if not packet:
                self._pause()
                self._eof.set()
                return
            self._fan_out(packet)
            if self._held():
                self._pause()
                return

    def _fan_out(self, packet: bytes) -> None:
        try:
            channel = Channel(packet[0])
        except ValueError:
            return  # a kind of packet that this version of conmon does not send
        data = packet[1:]
        for client in self._clients:
            client.put(channel, data)
            if client.full_since is None and client.buffer.size_bytes >= BUFFER_BYTES_MAX:
                client.full_since = self._clock.monotonic()
