"""The calls whose answer is a stream from the daemon: wait, logs, events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api import filters, status_to_pb
from services.containerd.logs import journal
from services.containerd.logs import options as log_options
from services.containerd.logs.format import Stream
from services.containerd.logs.journal import JournalReader
from services.containerd.logs.reader import Reader, Selection
from services.containerd.model.status import Phase, State
from services.containerd.ocispec import resolve
from services.kit import errors, events
from services.kit.rpc.moments import nanoseconds
from services.kit.watch import Resync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor, Exit
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.logs.format import Line
    from services.containerd.model.status import Status
    from services.kit.events import History
    from services.kit.seams import Clock

LINES_PER_MESSAGE_MAX = 1_000
BYTES_PER_MESSAGE_MAX = 512 << 10
_STREAMS = {Stream.STDOUT: pb.OUTPUT_STREAM_STDOUT, Stream.STDERR: pb.OUTPUT_STREAM_STDERR}
_READABLE = frozenset({"k8s-file", "journald"})
_NOT_RUNNING = frozenset({State.CREATED, State.EXITED, State.DEAD, State.REMOVING})


class Following:
    """Streams what becomes of containers."""

    def __init__(self, engine: Engine, machine: Machine, events: History, clock: Clock) -> None:
        self._engine = engine
        self._machine = machine
        self._events = events
        self._clock = clock

    async def wait(self, request: pb.WaitContainerRequest) -> AsyncIterator[pb.WaitContainerResponse]:
        """Yield `waiting` when the wait is armed, then `exit`."""
        if (before := self._engine.exit_of_gone(request.container)) is not None:
            yield pb.WaitContainerResponse(waiting=pb.Waiting(container=request.container))
            yield pb.WaitContainerResponse(exit=exit_to_pb(before))
            return
        actor = self._engine.find(request.container)
        gone, next_exit = actor.gone(), actor.next_exit()
        try:
            yield pb.WaitContainerResponse(waiting=pb.Waiting(container=actor.record.id))
            ended = await self._awaited(actor, request.condition, gone, next_exit)
        finally:
            gone.cancel()
            next_exit.cancel()
        yield pb.WaitContainerResponse(exit=exit_to_pb(ended))

    async def _awaited(
        self,
        actor: Actor,
        condition: pb.WaitCondition.ValueType,
        gone: asyncio.Future[Exit],
        next_exit: asyncio.Future[Exit],
    ) -> Exit:
        if condition == pb.WAIT_CONDITION_REMOVED:
            return await gone
        if condition == pb.WAIT_CONDITION_NEXT_EXIT:
            done, _ = await asyncio.wait([gone, next_exit], return_when=asyncio.FIRST_COMPLETED)
            return next_exit.result() if next_exit in done else gone.result()
        while actor.status.state not in _NOT_RUNNING or actor.status.phase is Phase.STARTING:
            ended = actor.next_exit()
            # A start that fails ends in no exit: look again now and then.
            done, _ = await asyncio.wait([gone, ended], return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
            if ended in done:  # also one that the restart policy follows up
                return ended.result()
            ended.cancel()
            if gone.done():
                break
        return actor.last_exit()

    async def logs(self, request: pb.GetLogsRequest) -> AsyncIterator[pb.GetLogsResponse]:
        """Yield batches of lines."""
        actor = self._engine.find(request.container)
        policy = log_options.resolve(actor.record.spec.log, self._machine.log_default)
        if policy.driver not in _READABLE:
            raise errors.FailedPrecondition(
                f"container {actor.record.name}: the configured logging driver does not support reading: it is"
                f" {policy.driver}",
                reason="LOG_NOT_READABLE",
            )
        streams = {Stream.STDOUT: not request.no_stdout, Stream.STDERR: not request.no_stderr}
        selection = Selection(
            streams=frozenset(stream for stream, wanted in streams.items() if wanted),
            since_ns=nanoseconds(request.since) if request.HasField("since") else None,
            until_ns=nanoseconds(request.until) if request.HasField("until") else None,
            tail=request.tail if request.HasField("tail") else None,
        )
        attributes = _details(actor) if request.details else {}
        reader: Reader | JournalReader
        if policy.in_files:
            reader = Reader(self._machine.layout.log(actor.record.id), selection)
        else:
            journal.check(actor.record.name)
            reader = JournalReader(actor.record.id, selection)
        async for lines in reader.read(
            follow=request.follow, ended=lambda: is_over(actor.status), clock=self._clock
        ):
            lost_bytes = reader.lost_bytes() if isinstance(reader, Reader) else 0
            for batch in _batches(lines):
                yield pb.GetLogsResponse(
                    lines=[_line(line, attributes) for line in batch], lost_bytes=lost_bytes
                )
                lost_bytes = 0

    async def events(self, request: pb.WatchEventsRequest) -> AsyncIterator[pb.WatchEventsResponse]:
        """Yield the kept past, then what happens."""
        selection = events.Selection(
            since_s=nanoseconds(request.since) / 1e9 if request.HasField("since") else None,
            until_s=nanoseconds(request.until) / 1e9 if request.HasField("until") else None,
            filters=filters.from_lists((key, value.values) for key, value in request.filters.items()),
        )
        async with contextlib.aclosing(self._events.watch(selection, self._clock)) as items:
            async for item in items:
                match item:
                    case events.Event():
                        yield pb.WatchEventsResponse(event=status_to_pb.event(item))
                    case Resync():
                        yield pb.WatchEventsResponse(resync=pb.Resync())
                    case events.Live():
                        if request.mark_live:
                            yield pb.WatchEventsResponse(live=pb.Live())


def is_over(status: Status) -> bool:
    """Return whether no process of the container writes any more, nor will by itself."""
    return status.state in _NOT_RUNNING and status.phase in (Phase.IDLE, Phase.REMOVING)


def exit_to_pb(ended: Exit) -> pb.ExitStatus:
    """Return how a run ended."""
    return pb.ExitStatus(exit_code=ended.exit_code, oom_killed=ended.oom_killed, error=ended.error)


def _line(line: Line, attributes: dict[str, str]) -> pb.LogLine:
    seconds, nanos = divmod(line.time_ns, 10**9)
    return pb.LogLine(
        time=Timestamp(seconds=seconds, nanos=nanos),
        stream=_STREAMS[line.stream],
        data=line.data,
        attributes=attributes,
    )


def _batches(lines: list[Line]) -> list[list[Line]]:
    batches: list[list[Line]] = [[]]
    size = 0
    for line in lines:
        full = len(batches[-1]) >= LINES_PER_MESSAGE_MAX or size + len(line.data) > BYTES_PER_MESSAGE_MAX
        if full and batches[-1]:
            batches.append([])
            size = 0
        batches[-1].append(line)
        size += len(line.data)
    return batches


def _details(actor: Actor) -> dict[str, str]:
    """Return what the log options choose to tell of a container (`--log-opt labels=a,b`)."""
    record = actor.record
    return log_options.details(
        record.spec.log.options,
        labels=resolve.labels(record.spec, record.image),
        env=dict(
            entry.partition("=")[::2] for entry in resolve.merged_environment(record.spec, record.image)
        ),
        tag_fields={
            "ID": record.id[:12],
            "FullID": record.id,
            "Name": record.name,
            "FullName": f"/{record.name}",
            "ImageID": record.image.id[:19],
            "ImageFullID": record.image.id,
            "ImageName": record.spec.image,
            "DaemonName": "beeyard",
        },
    )
