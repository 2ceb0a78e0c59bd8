"""Reads the logs of many tasks, each from its node, into one bounded stream.

A node that cannot be reached costs its part of the logs and nothing else: a gap says so, and when following it is asked
again until it answers, from the last line on. A reader that is slow holds up the nodes, not our memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from beeyard.swarm.v1 import control_pb2
from services.kit import backoff, errors, units
from services.kit.rpc import client
from services.swarmd.agent.core.order import task_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from beeyard.swarm.v1 import objects_pb2
    from services.kit.seams import Clock, Rng
    from services.kit.tasks import Supervisor
    from services.swarmd.gateway.ports import NodeDialer

QUEUE_MAX = 64
STREAMS_MAX = 1000
READS_AT_ONCE_MAX = 16
RECONNECT_BASE_S = 0.2
RECONNECT_MAX_S = 5.0
READ_TIMEOUT_S = 60.0
"""Of one task's log, when it is read to its present end only."""
SILENCE_MAX_S = 8.0
"""How long a node may say nothing while it reads to the present end: one that is frozen keeps its connection."""
_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The log of one task."""

    task_id: str
    task_name: str
    node_id: str
    container_id: str


def source_of(task: objects_pb2.Task) -> Source | None:
    """Return where the log of a task is; None if it has no container yet."""
    container_id = task.status.container.container_id
    if not container_id or not task.node_id:
        return None
    return Source(task_id=task.id, task_name=task_name(task), node_id=task.node_id, container_id=container_id)


class LogFan:
    """One call's readers."""

    def __init__(
        self,
        request: control_pb2.GetServiceLogsRequest,
        *,
        dialer: NodeDialer,
        supervisor: Supervisor,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._request = request
        self._dialer = dialer
        self._supervisor = supervisor
        self._clock = clock
        self._rng = rng
        self._queue: asyncio.Queue[control_pb2.GetServiceLogsResponse | None] = asyncio.Queue(QUEUE_MAX)
        self._slots = asyncio.Semaphore(STREAMS_MAX if request.follow else READS_AT_ONCE_MAX)
        self._begun: set[str] = set()
        self._reading = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def responses(self) -> AsyncGenerator[control_pb2.GetServiceLogsResponse, None]:
        """Yield what the readers read, until `finish` was called."""
        while (response := await self._queue.get()) is not None:
            yield response

    async def finish(self) -> None:
        """Let `responses` end when all readers have."""
        await self._idle.wait()
        await self._queue.put(None)

    async def read(self, tasks: Iterable[objects_pb2.Task]) -> None:
        """Begin to read the logs of tasks that have one and are not read yet."""
        for task in tasks:
            source = source_of(task)
            if source is None or source.task_id in self._begun:
                continue
            self._begun.add(source.task_id)
            if self._reading >= STREAMS_MAX:
                await self._gap(source, f"more than {STREAMS_MAX} logs are read already")
                continue
            self._reading += 1
            self._idle.clear()
            self._supervisor.spawn(self._run(source), f"logs {source.task_id}", critical=False)

    async def _run(self, source: Source) -> None:
        try:
            async with self._slots:
                await self._read(source)
        finally:
            self._reading -= 1
            if not self._reading:
                self._idle.set()

    async def _read(self, source: Source) -> None:
        place = _Place(self._request)
        attempt = 0
        while True:
            place.moved = False
            try:
                await self._read_on(source, place)
                return
            except errors.NotFound as exc:
                await self._gap(source, exc.message)
                return
            except errors.BeeyardError as exc:
                if attempt == 0 or place.moved:
                    attempt = 0
                    await self._gap(source, exc.message)  # once for each time that it is away
                if not self._request.follow:
                    return
            await self._clock.sleep(
                backoff.delay(attempt, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, rng=self._rng)
            )
            attempt += 1

    async def _read_on(self, source: Source, place: _Place) -> None:
        """Read from a place to the end: the present end, or when following the end of the container."""
        stub = container_pb2_grpc.ContainerServiceStub(await self._dialer.channel(source.node_id))
        timeout_s = None if self._request.follow else READ_TIMEOUT_S
        calls = client.stream(stub.GetLogs(place.request(source.container_id), timeout=timeout_s))
        async with contextlib.aclosing(calls) as responses:
            while (response := await self._next(source, responses)) is not None:
                if response.lost_bytes:
                    size = units.render_bytes(response.lost_bytes)
                    await self._gap(
                        source, f"{size} of the log were removed by its rotation before they were read"
                    )
                if response.lines:
                    await self._queue.put(_lines(source, response.lines))
                    place.advance(response.lines[-1].time)

    async def _next(
        self, source: Source, responses: AsyncGenerator[container_pb2.GetLogsResponse, None]
    ) -> container_pb2.GetLogsResponse | None:
        """Return what comes next, None at the end."""
        try:
            async with asyncio.timeout(None if self._request.follow else SILENCE_MAX_S):
                return await anext(responses, None)
        except TimeoutError:
            raise errors.Unavailable(
                f"node {source.node_id} does not answer: nothing came for {SILENCE_MAX_S:.0f} s",
                reason="NODE_UNREACHABLE",
            ) from None

    async def _gap(self, source: Source, reason: str) -> None:
        gap = control_pb2.LogGap(node_id=source.node_id, task_id=source.task_id, reason=reason)
        await self._queue.put(control_pb2.GetServiceLogsResponse(gap=gap))


class _Place:
    """How far the log of one task has been read."""

    def __init__(self, request: control_pb2.GetServiceLogsRequest) -> None:
        self._request = container_pb2.GetLogsRequest(
            follow=request.follow,
            no_stdout=request.no_stdout,
            no_stderr=request.no_stderr,
        )
        for name in ("since", "until"):
            if request.HasField(name):
                getattr(self._request, name).CopyFrom(getattr(request, name))
        if request.HasField("tail"):
            self._request.tail = request.tail
        self.moved = False
        """Whether a line was read since this was last set to false."""

    def request(self, container_id: str) -> container_pb2.GetLogsRequest:
        """Return the request that reads on from here."""
        self._request.container = container_id
        return self._request

    def advance(self, last: Timestamp) -> None:
        """Go on after a line."""
        self.moved = True
        self._request.ClearField("tail")
        self._request.since.seconds = last.seconds + (last.nanos + 1) // _NANOS
        self._request.since.nanos = (last.nanos + 1) % _NANOS


def _lines(source: Source, lines: Iterable[container_pb2.LogLine]) -> control_pb2.GetServiceLogsResponse:
    response = control_pb2.GetServiceLogsResponse()
    response.lines.task_id = source.task_id
    response.lines.task_name = source.task_name
    response.lines.node_id = source.node_id
    for line in lines:
        response.lines.lines.add(
            time=line.time, stderr=line.stream == container_pb2.OUTPUT_STREAM_STDERR, data=line.data
        )
    return response
