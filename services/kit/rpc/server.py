"""A gRPC server on any number of unix sockets and TLS addresses, with health, reflection and a drain that waits."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.kit import errors, log
from services.kit.rpc.calls import Calls, Method
from services.kit.rpc.types import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)

_log = log.get(__name__)

IN_FLIGHT_MAX = 4096
SOCKET_MODE = 0o660
UNIX_PATH_BYTES_MAX = 107
HANDLERS_END_S = 5.0
"""How long handlers may take to end once they were cancelled."""

_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    (
        "grpc.so_reuseport",
        0,
    ),  # a second server on the same address is an error, not a silent share of the calls
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # peers watch idle streams with pings
    ("grpc.keepalive_permit_without_calls", 1),
)


class Adder(Protocol[S_contra]):
    """A generated `add_XServicer_to_server`."""

    def __call__(self, servicer: S_contra, server: grpc.aio.Server, /) -> None:
        """Register the servicer's methods at the server."""
        ...


class RpcServer:
    """Serves what was added on all addresses that were given, from `start` to `drain`.

    Args:
        name: Says in logs which server it is.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._services: list[str] = []
        self._unix: list[tuple[Path, str]] = []
        self._tls: list[tuple[str, grpc.ServerCredentials]] = []
        self._calls = Calls()
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._draining = asyncio.Event()
        self.ports: dict[str, int] = {}
        """After `start`, the port of each TLS address: for addresses with port 0."""

    @property
    def in_flight(self) -> int:
        """How many calls have a handler that has not ended."""
        return self._calls.in_flight

    @property
    def draining(self) -> asyncio.Event:
        """Set when the drain begins: for handlers of endless calls that want to say goodbye themselves."""
        return self._draining

    def add(self, adder: Adder[S], servicer: S, *, follows: Collection[str] = ()) -> None:
        """Serve a servicer.

        Args:
            adder: The generated `add_XServicer_to_server`.
            servicer: Its methods raise `errors.BeeyardError`; the status is made of that.
            follows: The names of the methods whose calls have no end of their own. A drain ends them at once with
                UNAVAILABLE, SHUTTING_DOWN, where it lets others finish.
        """
        recorder = _Recorder()
        adder(servicer, cast("grpc.aio.Server", recorder))
        for service, handlers in recorder.services.items():
            unknown = set(follows) - set(handlers)
            assert not unknown, f"{service} has no methods {sorted(unknown)}"
            wrapped = {
                name: self._calls.wrap(handler, Method(path=f"/{service}/{name}", follows=name in follows))
                for name, handler in handlers.items()
            }
            self._services.append(service)
            self._handlers.append(grpc.method_handlers_generic_handler(service, wrapped))

    def add_generic(self, handler: grpc.GenericRpcHandler, *, name: str = "generic") -> None:
        """Serve the calls that `handler` has an answer for, after all servicers; in metrics they go by `name`."""
        self._handlers.append(_Generic(handler, self._calls, Method(path=name)))

    def listen_unix(self, path: Path | str, group: str = "") -> None:
        """Listen on a unix socket which root and the members of `group` may use, if there is such a group."""
        self._unix.append((Path(path), group))

    def listen_tls(self, address: str, credentials: grpc.ServerCredentials) -> None:
        """Listen on "host:port"; port 0 takes a free one, see `ports`."""
        self._tls.append((address, credentials))

    async def start(self) -> None:
        """Bind every address and begin to serve.

        Raises:
            errors.FailedPrecondition: An address is in use (ADDRESS_IN_USE).
            errors.Invalid: A socket path is too long for the kernel.
        """
        assert self._server is None, f"server {self._name} is started once"
        self.add(health_pb2_grpc.add_HealthServicer_to_server, self._health, follows={"Watch"})
        self._handlers.append(_Reflection(self._services, self._calls))
        self._handlers.sort(
            key=lambda handler: isinstance(handler, _Generic)
        )  # stable: exact services come first
        server = grpc.aio.server(
            handlers=self._handlers, options=_OPTIONS, maximum_concurrent_rpcs=IN_FLIGHT_MAX
        )
        try:
            for path, group in self._unix:
                _bind_unix(server, path, group)
            for address, credentials in self._tls:
                self.ports[address] = _bind_tls(server, address, credentials)
        except BaseException:
            await server.stop(None)
            raise
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        _log.info(
            "rpc_serving",
            server=self._name,
            sockets=",".join(str(path) for path, _ in self._unix),
            addresses=",".join(address for address, _ in self._tls),
        )

    async def drain(self, grace_s: float) -> None:
        """Stop serving: refuse new calls, end followers, let the others finish for `grace_s`, then cancel them.

        When it returns no handler runs any more, unless one has ignored its cancellation for `HANDLERS_END_S`.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        self._draining.set()
        self._calls.end_followers()
        await self._health.enter_graceful_shutdown()
        await server.stop(grace_s)
        try:
            async with asyncio.timeout(HANDLERS_END_S):
                await self._calls.idle()
        except TimeoutError:
            _log.error("rpc_handlers_stuck", server=self._name, in_flight=self._calls.in_flight)
        for path, _ in self._unix:
            path.unlink(missing_ok=True)


class _Recorder:
    """Takes the place of a server in a generated adder, and keeps what it is given."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Ignore the older form of the same registration."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keep the handlers of a service by the names of their methods."""
        self.services[service] = handlers


class _Generic(grpc.GenericRpcHandler):
    """Wraps what another generic handler answers."""

    def __init__(self, inner: grpc.GenericRpcHandler, calls: Calls, method: Method) -> None:
        self._inner = inner
        self._calls = calls
        self._method = method

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = self._inner.service(handler_call_details)
        return None if handler is None else self._calls.wrap(handler, self._method)


class _Reflection(grpc.GenericRpcHandler):
    """Tells what the server offers. What it takes, 0.7 MB, is imported when somebody asks."""

    def __init__(self, services: list[str], calls: Calls) -> None:
        self._services = services
        self._calls = calls
        self._handler: grpc.RpcMethodHandler[Any, Any] | None = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if handler_call_details.method != _REFLECTION:
            return None
        if self._handler is None:
            from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

            recorder = _Recorder()
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
                reflection.aio.ReflectionServicer([*self._services, reflection.SERVICE_NAME]),
                cast("grpc.aio.Server", recorder),
            )
            handler = recorder.services[reflection.SERVICE_NAME]["ServerReflectionInfo"]
            self._handler = self._calls.wrap(handler, Method(path=_REFLECTION, follows=True))
        return self._handler


def _bind_unix(server: grpc.aio.Server, path: Path, group: str) -> None:
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
        raise errors.Invalid(
            f"the socket path {path} is longer than the kernel's limit of {UNIX_PATH_BYTES_MAX} bytes:"
            " choose a shorter run directory",
            reason="SOCKET_PATH_TOO_LONG",
        )
    if _answers(path):
        raise errors.FailedPrecondition(f"another process listens on {path}", reason="ADDRESS_IN_USE")
    path.unlink(missing_ok=True)  # left by a process that was killed
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as exc:
        raise errors.FailedPrecondition(f"cannot listen on {path}: {exc}", reason="ADDRESS_IN_USE") from exc
    try:
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        gid = -1
    if gid != -1:
        os.chown(path, -1, gid)
    path.chmod(SOCKET_MODE)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def _bind_tls(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as exc:
        raise errors.FailedPrecondition(
            f"cannot listen on {address}: the address is in use, or not one of this machine",
            reason="ADDRESS_IN_USE",
        ) from exc
