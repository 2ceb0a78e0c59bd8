"""The way to one other member: a bounded queue, and one long stream that is opened again whenever it breaks.

What is in the queue when the stream breaks is dropped: raft says it again, and better informed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc.aio

from beeyard.swarm.v1 import raft_pb2 as pb
from beeyard.swarm.v1 import raft_pb2_grpc as pb_grpc
from services.kit import backoff, errors, log
from services.kit.rpc import client
from services.swarmd.raft.core.messages import AppendRequest
from services.swarmd.raft.core.types import ENTRY_OVERHEAD_BYTES
from services.swarmd.raft.shell import codec, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from services.kit.seams import Clock, Rng
    from services.swarmd.raft.core.membership import Member
    from services.swarmd.raft.core.messages import InstallSnapshot, Message
    from services.swarmd.raft.shell.ports import Receiver

_log = log.get(__name__)

_Exchange: TypeAlias = "grpc.aio.StreamUnaryCall[pb.ExchangeRequest, pb.ExchangeResponse]"

QUEUE_MESSAGES_MAX: Final = 4096
QUEUE_BYTES_MAX: Final = 64 << 20
BATCH_BYTES_MAX: Final = 4 << 20
CHUNK_BYTES: Final = 1 << 20
RETRY_BASE_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
SNAPSHOT_TIMEOUT_S: Final = 300.0


class Link:
    """Sends to one member. `run` is its task."""

    def __init__(
        self,
        member: Member,
        open_channel: Callable[[Member], grpc.aio.Channel],
        metadata: tuple[tuple[str, str], ...],
        receiver: Receiver,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self.member = member
        self._channel = open_channel(member)
        self._stub = pb_grpc.RaftServiceStub(self._channel)
        self._metadata = metadata
        self._receiver = receiver
        self._clock = clock
        self._rng = rng
        self._queue: deque[tuple[int, Message]] = deque()
        self._queue_bytes = 0
        self._wakeup = asyncio.Event()
        self._connected = False

    def put(self, messages: Iterable[Message]) -> None:
        """Queue messages; drop them if the member does not take them as fast as they come."""
        for message in messages:
            if len(self._queue) >= QUEUE_MESSAGES_MAX or self._queue_bytes >= QUEUE_BYTES_MAX:
                self._receiver.unreachable(self.member.id)
                return
            size = _size_of(message)
            self._queue.append((size, message))
            self._queue_bytes += size
        self._wakeup.set()

    async def run(self) -> None:
        """Send what is queued, until cancelled."""
        attempt = 0
        try:
            while True:
                await self._wakeup.wait()
                sent = await self._stream()
                attempt = 0 if sent else attempt + 1
                self._drop_queue()
                self._receiver.unreachable(self.member.id)
                await self._clock.sleep(
                    backoff.delay(attempt, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, rng=self._rng)
                )
        finally:
            await self._channel.close()

    async def send_snapshot(self, message: InstallSnapshot) -> None:
        """Send a snapshot on a stream of its own; return when it arrived."""
        await client.call(
            self._stub.InstallSnapshot(
                _snapshot_parts(message), metadata=self._metadata, timeout=SNAPSHOT_TIMEOUT_S
            )
        )

    async def _stream(self) -> int:
        """Open a stream and send on it until it ends; return how many batches it took."""
        sent = 0
        error: errors.BeeyardError | None = None
        try:
            call = self._stub.Exchange(metadata=self._metadata)
        except (errors.BeeyardError, grpc.aio.UsageError) as exc:  # not even a channel
            _log.debug("raft_stream_not_opened", peer=f"{self.member.id:x}", error=str(exc))
            return sent
        call.add_done_callback(lambda _: self._wakeup.set())
        try:
            async for batch in self._batches(call):
                await client.call(call.write(batch))
                sent += 1
            await client.call(call)
        except asyncio.InvalidStateError:
            error = await _end_of(call)  # it ended while we were about to write
        except errors.BeeyardError as exc:
            error = exc
        finally:
            call.cancel()
        self._note_end(error, sent)
        return sent

    async def _batches(self, call: _Exchange) -> AsyncIterator[pb.ExchangeRequest]:
        """Yield what is queued, as it comes, until the stream ends."""
        while not call.done():
            batch = self._take_batch()
            if batch.messages:
                yield batch
            else:
                self._wakeup.clear()
                if not call.done():
                    await self._wakeup.wait()

    def _note_end(self, error: errors.BeeyardError | None, sent: int) -> None:
        if error is not None and error.reason == "MEMBER_REMOVED":
            self._receiver.removed()
        level = _log.info if sent or self._connected else _log.debug
        self._connected = sent > 0
        level(
            "raft_stream_ended",
            peer=f"{self.member.id:x}",
            address=self.member.address,
            reason=error.reason if error else "ENDED",
            error=error.message if error else "",
        )

    def _take_batch(self) -> pb.ExchangeRequest:
        batch = pb.ExchangeRequest()
        size = 0
        while self._queue and (not size or size + self._queue[0][0] <= BATCH_BYTES_MAX):
            message_size, message = self._queue.popleft()
            size += message_size
            batch.messages.append(wire.message_to_pb(message))
        self._queue_bytes -= size
        return batch

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queue_bytes = 0
        self._wakeup.clear()


async def _end_of(call: _Exchange) -> errors.BeeyardError | None:
    try:
        await client.call(call)
    except errors.BeeyardError as error:
        return error
    return None


def _size_of(message: Message) -> int:
    entries = message.entries if isinstance(message, AppendRequest) else ()
    return ENTRY_OVERHEAD_BYTES + sum(entry.size_bytes for entry in entries)


async def _snapshot_parts(message: InstallSnapshot) -> AsyncIterator[pb.InstallSnapshotRequest]:
    head = wire.message_to_pb(message)
    data = message.snapshot.data
    head.snapshot.CopyFrom(
        codec.snapshot_meta_to_pb(
            message.snapshot.meta, size_bytes=len(data), sha256=hashlib.sha256(data).digest()
        )
    )
    yield pb.InstallSnapshotRequest(message=head)
    view = memoryview(data)
    for at in range(0, len(data), CHUNK_BYTES):
        yield pb.InstallSnapshotRequest(chunk=bytes(view[at : at + CHUNK_BYTES]))
