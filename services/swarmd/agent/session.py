"""The agent's tie to the swarm: a session with the leader, opened again whenever it breaks.

While no manager answers the worker goes on with what it was given last; every new session tells the state of all tasks
again, and its first assignments are the complete set, so nothing that was missed stays missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from beeyard.swarm.v1 import dispatcher_pb2, dispatcher_pb2_grpc
from services.kit import backoff, errors, log
from services.kit.rpc import client
from services.kit.tasks import Supervisor
from services.swarmd.agent.core.assembly import Assembly
from services.swarmd.gateway.ports import LEADER_ADDRESS, LEADER_NODE_ID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from beeyard.swarm.v1 import objects_pb2
    from services.kit.seams import Clock, Rng
    from services.swarmd.agent.worker import Worker
    from services.swarmd.gateway.ports import ManagerConnection, ManagerDialer, MembershipPort

_log = log.get(__name__)

RECONNECT_BASE_S = 0.1
RECONNECT_MAX_S = 8.0
CALL_TIMEOUT_S = 5.0
REPORTS_MAX = 1000
DESCRIBE_S = 20.0
HEARTBEAT_DEFAULT_S = 2.0
_REMOVED_ATTEMPT = 10


class Describe(Protocol):
    """Tells what this node is and has, as of now."""

    def __call__(self) -> objects_pb2.NodeDescription:
        """Return the description; cheap, does not block."""
        ...


class Session:
    """Keeps a session with the leader."""

    def __init__(
        self,
        *,
        managers: ManagerDialer,
        membership: MembershipPort,
        worker: Worker,
        describe: Describe,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._managers = managers
        self._membership = membership
        self._worker = worker
        self._describe = describe
        self._clock = clock
        self._rng = rng
        self._session_id = ""
        self._attempt = 0

    async def run(self) -> None:
        """Open sessions, one after the other, for ever."""
        while True:
            try:
                connection = await self._managers.connect()
                await self._run_with(connection)
            except errors.BeeyardError as exc:
                _log.debug("session_failed", reason=exc.reason, error=exc.message, attempt=self._attempt)
            delay_s = backoff.delay(
                self._attempt, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, rng=self._rng
            )
            self._attempt += 1
            await self._clock.sleep(delay_s)

    async def _run_with(self, connection: ManagerConnection) -> None:
        """Hold one session until it breaks, and tell the dialer what came of it."""
        try:
            await self._hold(connection)
        except errors.BeeyardError as failure:
            self._learn(connection, failure)
            raise
        except ExceptionGroup as group:
            failures, rest = group.split(errors.BeeyardError)
            if rest is not None or failures is None:
                raise
            leaves = _leaves(failures)
            for leaf in leaves:
                self._learn(connection, leaf)
            raise leaves[0] from None

    def _learn(self, connection: ManagerConnection, failure: errors.BeeyardError) -> None:
        match failure.reason:
            case "NOT_LEADER":
                address = failure.metadata.get(LEADER_ADDRESS, "")
                self._managers.leader_hint(address, failure.metadata.get(LEADER_NODE_ID, ""))
                if address:
                    self._attempt = 0
            case "NODE_REMOVED" | "CERTIFICATE_BLOCKED":
                self._membership.node_removed(failure.message)
                self._attempt = max(self._attempt, _REMOVED_ATTEMPT)  # whoever stops us is on the way
            case _:
                if isinstance(failure, errors.Unavailable):
                    self._managers.failed(connection)

    async def _hold(self, connection: ManagerConnection) -> None:
        stub = dispatcher_pb2_grpc.DispatcherServiceStub(connection.channel)
        description = self._describe()
        request = dispatcher_pb2.OpenSessionRequest(
            description=description, previous_session_id=self._session_id
        )
        async with contextlib.aclosing(client.stream(stub.OpenSession(request))) as messages:
            first = await _first(messages)
            self._session_id = first.session_id
            _log.info("session_opened", manager=connection.place.address, session_id=first.session_id)
            self._membership.session_message(first)
            async with Supervisor() as supervisor:
                supervisor.spawn(self._follow(messages), "session-messages")
                supervisor.spawn(self._beat(stub, first), "session-heartbeats")
                supervisor.spawn(self._take_assignments(stub), "session-assignments")
                supervisor.spawn(self._tell(stub), "session-reports")
                supervisor.spawn(self._watch_description(description), "session-description")
                await supervisor.idle()

    async def _follow(self, messages: AsyncGenerator[dispatcher_pb2.OpenSessionResponse, None]) -> None:
        async for message in messages:
            self._membership.session_message(message)
        raise errors.Unavailable("the manager has ended the session", reason="SESSION_ENDED")

    async def _beat(
        self, stub: dispatcher_pb2_grpc.DispatcherServiceStub, first: dispatcher_pb2.OpenSessionResponse
    ) -> None:
        request = dispatcher_pb2.HeartbeatRequest(session_id=self._session_id)
        period_s = first.heartbeat_period_ms / 1000 or HEARTBEAT_DEFAULT_S
        while True:
            await self._clock.sleep(period_s)
            # An answer that is a period late is as good as none: the next manager may be reached in time.
            timeout_s = min(CALL_TIMEOUT_S, max(period_s, 1.0))
            response = await client.call(stub.Heartbeat(request, timeout=timeout_s))
            period_s = response.period_ms / 1000 or HEARTBEAT_DEFAULT_S

    async def _take_assignments(self, stub: dispatcher_pb2_grpc.DispatcherServiceStub) -> None:
        assembly = Assembly()
        request = dispatcher_pb2.WatchAssignmentsRequest(session_id=self._session_id)
        async with contextlib.aclosing(client.stream(stub.WatchAssignments(request))) as messages:
            async for message in messages:
                assignments = assembly.take(message)
                if assignments is not None:
                    await self._worker.assign(assignments)
                    self._attempt = 0
        raise errors.Unavailable("the manager has ended the assignments", reason="SESSION_ENDED")

    async def _tell(self, stub: dispatcher_pb2_grpc.DispatcherServiceStub) -> None:
        reports = self._worker.reports
        for task_id in self._worker.task_ids:  # this leader may never have heard what the last one was told
            reports.changed(task_id)
        while True:
            taken = await reports.take(REPORTS_MAX)
            request = dispatcher_pb2.ReportTaskStatusRequest(session_id=self._session_id)
            for task_id in taken:
                status = self._worker.status(task_id)
                if status is not None:
                    request.reports.add(task_id=task_id, status=status)
            if request.reports:
                await client.call(stub.ReportTaskStatus(request, timeout=CALL_TIMEOUT_S))

    async def _watch_description(self, told: objects_pb2.NodeDescription) -> None:
        while True:
            await self._clock.sleep(DESCRIBE_S)
            if self._describe() != told:
                self._attempt = 0
                raise errors.Conflict("the node's description has changed", reason="DESCRIPTION_CHANGED")


async def _first(
    messages: AsyncGenerator[dispatcher_pb2.OpenSessionResponse, None],
) -> dispatcher_pb2.OpenSessionResponse:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await anext(messages)
    except TimeoutError:
        raise errors.Unavailable("the manager does not answer", reason="DEADLINE_EXCEEDED") from None
    except StopAsyncIteration:
        raise errors.Unavailable("the manager has ended the session", reason="SESSION_ENDED") from None


def _leaves(failures: ExceptionGroup[errors.BeeyardError]) -> list[errors.BeeyardError]:
    found: list[errors.BeeyardError] = []
    for failure in failures.exceptions:
        found.extend(_leaves(failure) if isinstance(failure, ExceptionGroup) else [failure])
    return found
