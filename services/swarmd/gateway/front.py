"""What each listener serves. Every method of the protos is registered once and for all; who answers is found per call.

unix socket    control API, peers, system, the other daemons    who may open it is an administrator of this node
mTLS           all of these, and what nodes say to each other   the certificate says who it is
enrolment      how a machine becomes a member                   anybody
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import grpc.aio

from services.kit import errors
from services.swarmd.gateway import authorization, methods, routing, slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from services.kit.rpc.server import RpcServer
    from services.kit.rpc.types import Context
    from services.swarmd.gateway.control import ControlCalls, SituationPort
    from services.swarmd.gateway.methods import Method
    from services.swarmd.gateway.ports import CallerPort
    from services.swarmd.gateway.proxy import DaemonCalls
    from services.swarmd.gateway.slots import Slots

    Serve = Callable[[Method, AsyncIterator[bytes], Context], Awaitable[None]]

ENROLMENT: Final = frozenset(
    {
        "/beeyard.swarm.v1.EnrolmentService/GetRootCertificate",
        "/beeyard.swarm.v1.EnrolmentService/IssueNodeCertificate",
    }
)
"""What anybody may call, on the enrolment listener."""


class Front:
    """Puts the methods on the listeners."""

    def __init__(
        self,
        *,
        callers: CallerPort,
        slots: Slots,
        situation: SituationPort,
        control: ControlCalls,
        daemons: DaemonCalls,
    ) -> None:
        self._callers = callers
        self._slots = slots
        self._situation = situation
        self._control = control
        self._daemons = daemons

    def serve_local(self, server: RpcServer) -> None:
        """Serve this node's administrators."""
        _register(server, methods.CONTROL, self._control.serve)
        _register(server, methods.PEER, self._serve_internal)
        _register(server, methods.MOVE, self._serve_internal)
        _register(server, methods.SYSTEM, self._serve_daemon)
        _register(server, methods.DAEMONS, self._serve_daemon)
        server.add_generic(_UnknownMethods(self._daemons), name="gateway")

    def serve_mtls(self, server: RpcServer) -> None:
        """Serve nodes and clients that have a certificate."""
        self.serve_local(server)
        _register(server, methods.INTERNAL, self._serve_internal)

    def serve_enrolment(self, server: RpcServer) -> None:
        """Serve machines that are not members yet."""
        opened = {path: method for path, method in methods.INTERNAL.items() if path in ENROLMENT}
        _register(server, opened, self._serve_enrolment)

    async def _serve_daemon(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._daemons.serve(method.path, requests, context)

    async def _serve_internal(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        authorization.check(self._callers.caller(context), method.path)
        await self._serve_slot(method, requests, context)

    async def _serve_enrolment(
        self, method: Method, requests: AsyncIterator[bytes], context: Context
    ) -> None:
        await self._serve_slot(method, requests, context)

    async def _serve_slot(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        handler = self._slots.handler(method.path)
        if handler is None:
            standing = self._situation.situation().standing
            if standing is routing.Standing.MANAGER:
                raise errors.Unavailable("this manager is starting or stopping", reason="NOT_READY")
            raise routing.not_a_manager(standing)
        await slots.serve(handler, requests, context)


class _UnknownMethods(grpc.GenericRpcHandler):
    """Takes calls of the daemons' packages that this release does not know: a newer daemon may."""

    def __init__(self, daemons: DaemonCalls) -> None:
        self._daemons = daemons

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = str(handler_call_details.method)
        if methods.daemon_of(path, "") is None:
            return None

        async def behaviour(requests: AsyncIterator[bytes], context: Context) -> None:
            await self._daemons.serve(path, requests, context)

        return grpc.stream_stream_rpc_method_handler(cast("Any", behaviour))


def _register(server: RpcServer, known: Mapping[str, Method], serve: Serve) -> None:
    """Register methods, each as a stream of bytes both ways, which every kind of call is on the wire."""
    services: dict[str, list[Method]] = {}
    for method in known.values():
        services.setdefault(method.service, []).append(method)
    for service, its_methods in services.items():
        handlers = {method.name: _handler(method, serve) for method in its_methods}

        def adder(
            _servicer: object,
            recorder: grpc.aio.Server,
            service: str = service,
            handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = handlers,
        ) -> None:
            recorder.add_registered_method_handlers(service, handlers)

        server.add(adder, None, follows={method.name for method in its_methods if _follows(method)})


def _follows(method: Method) -> bool:
    """Return whether calls of a method may have no end of their own."""
    return method.streams_responses or (method.streams_requests and method.path in methods.INTERNAL)


def _handler(method: Method, serve: Serve) -> grpc.RpcMethodHandler[Any, Any]:
    async def behaviour(requests: AsyncIterator[bytes], context: Context) -> None:
        await serve(method, requests, context)

    return grpc.stream_stream_rpc_method_handler(cast("Any", behaviour))
