"""DispatcherService: what arrives over the network, given to the dispatcher while this manager leads."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import contextlib
import ipaddress
import urllib.parse
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import dispatcher_pb2, dispatcher_pb2_grpc
from services.kit import errors
from services.swarmd.gateway.ports import CallerKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.kit.rpc.types import Context
    from services.swarmd.dispatcher.dispatcher import Dispatcher
    from services.swarmd.gateway.ports import CallerPort, LeaderPort

FOLLOWS = ("OpenSession", "WatchAssignments")
"""The methods whose calls have no end of their own, for `RpcServer.add`."""


class DispatcherServicer(dispatcher_pb2_grpc.DispatcherServiceServicer):
    """Registered on every manager for as long as it runs; answers NOT_LEADER while another one leads."""

    def __init__(self, callers: CallerPort, leader: LeaderPort) -> None:
        self._callers = callers
        self._leader = leader
        self._dispatcher: Dispatcher | None = None

    @contextlib.contextmanager
    def serving(self, dispatcher: Dispatcher) -> Iterator[None]:
        """Give calls to `dispatcher` for the length of the block."""
        self._dispatcher = dispatcher
        try:
            yield
        finally:
            self._dispatcher = None

    async def OpenSession(
        self, request: dispatcher_pb2.OpenSessionRequest, context: Context
    ) -> AsyncIterator[dispatcher_pb2.OpenSessionResponse]:
        """Register the caller's node and stream what concerns it."""
        node_id, dispatcher = self._node_id(context), self._leading()
        address = _address(context.peer(), request.description.address)
        messages = dispatcher.open_session(node_id, request.description, address)
        async with contextlib.aclosing(messages):
            async for message in messages:
                yield message

    async def Heartbeat(
        self, request: dispatcher_pb2.HeartbeatRequest, context: Context
    ) -> dispatcher_pb2.HeartbeatResponse:
        """Keep the caller's node ready."""
        period_s = self._leading().heartbeat(self._node_id(context), request.session_id)
        return dispatcher_pb2.HeartbeatResponse(period_ms=round(period_s * 1000))

    async def WatchAssignments(
        self, request: dispatcher_pb2.WatchAssignmentsRequest, context: Context
    ) -> AsyncIterator[dispatcher_pb2.WatchAssignmentsResponse]:
        """Stream the tasks of the caller's node."""
        messages = self._leading().watch_assignments(self._node_id(context), request.session_id)
        async with contextlib.aclosing(messages):
            async for message in messages:
                yield message

    async def ReportTaskStatus(
        self, request: dispatcher_pb2.ReportTaskStatusRequest, context: Context
    ) -> dispatcher_pb2.ReportTaskStatusResponse:
        """Take the states of tasks of the caller's node."""
        await self._leading().report(self._node_id(context), request.session_id, request.reports)
        return dispatcher_pb2.ReportTaskStatusResponse()

    def _node_id(self, context: Context) -> str:
        caller = self._callers.caller(context)
        if caller.kind is CallerKind.CLIENT or not caller.node_id:
            raise errors.PermissionDenied("only nodes of the swarm may call this", reason="NOT_A_NODE")
        return caller.node_id

    def _leading(self) -> Dispatcher:
        if self._dispatcher is None:
            self._leader.require_leading()
            raise errors.Unavailable("this manager is just beginning to lead", reason="NOT_LEADER_YET")
        return self._dispatcher


def _address(peer: str, advertised: str) -> str:
    """Return the address that a node was seen from; its own word where the call came over the machine itself."""
    host = advertised.rpartition(":")[0].strip("[]")
    scheme, _, rest = urllib.parse.unquote(peer).partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return host
    seen = rest.rpartition(":")[0].strip("[]")
    try:
        return host if ipaddress.ip_address(seen).is_loopback and host else seen
    except ValueError:
        return host
