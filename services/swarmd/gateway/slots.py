"""Servicers that come and go while the listeners run: a node may become a manager, and cease to be one.

The listeners serve every method of the protos from their start. Who answers it at the moment stands here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    import grpc
    import grpc.aio

    from services.kit.rpc.server import Adder, S
    from services.kit.rpc.types import Context


class Slots:
    """The present handler of each method."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def install(self, adder: Adder[S], servicer: S) -> tuple[str, ...]:
        """Let a servicer answer its methods from now on; return their paths."""
        recorder = _Recorder()
        adder(servicer, cast("grpc.aio.Server", recorder))
        taken = set(recorder.handlers) & set(self._handlers)
        assert not taken, f"{sorted(taken)} are answered already"
        self._handlers.update(recorder.handlers)
        return tuple(recorder.handlers)

    @contextlib.contextmanager
    def installed(self, adder: Adder[S], servicer: S) -> Iterator[None]:
        """Let a servicer answer its methods inside the block."""
        paths = self.install(adder, servicer)
        try:
            yield
        finally:
            for path in paths:
                del self._handlers[path]

    def handler(self, path: str) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return who answers a method; None if nobody does."""
        return self._handlers.get(path)


async def serve(
    handler: grpc.RpcMethodHandler[Any, Any], requests: AsyncIterator[bytes], context: Context
) -> None:
    """Serve a call, taken as a stream of bytes both ways, by a servicer's method of any kind.

    Raises:
        errors.Invalid: The request is missing, or no message of its type.
        errors.Unsupported: The servicer does not have the method.
    """
    try:
        await _serve(handler, requests, context)
    except NotImplementedError as exc:  # of the generated base class
        raise errors.Unsupported("this release does not serve this method") from exc


async def _serve(
    handler: grpc.RpcMethodHandler[Any, Any], requests: AsyncIterator[bytes], context: Context
) -> None:
    kind: Any = handler
    messages = _messages(handler, requests)
    request: Any = messages if kind.request_streaming else await one(messages)
    behaviour = kind.unary_unary or kind.unary_stream or kind.stream_unary or kind.stream_stream
    if not kind.response_streaming:
        await context.write(kind.response_serializer(await behaviour(request, context)))
        return
    async with contextlib.aclosing(behaviour(request, context)) as responses:
        async for response in responses:
            await context.write(kind.response_serializer(response))


async def one(requests: AsyncIterator[Any]) -> Any:
    """Return the only message of a call whose request is no stream.

    Raises:
        errors.Invalid: There is none.
    """
    async for request in requests:
        return request
    raise errors.Invalid("the call has no request")


def deserialized(handler: grpc.RpcMethodHandler[Any, Any], request: bytes) -> Any:
    """Return a request as the message that the handler takes.

    Raises:
        errors.Invalid: It is none.
    """
    kind: Any = handler
    try:
        return kind.request_deserializer(request)
    except DecodeError as exc:
        raise errors.Invalid(f"the request cannot be read: {exc}") from exc


async def _messages(
    handler: grpc.RpcMethodHandler[Any, Any], requests: AsyncIterator[bytes]
) -> AsyncIterator[Any]:
    async for request in requests:
        yield deserialized(handler, request)


class _Recorder:
    """Takes the place of a server in a generated adder."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Ignore the older form of the same registration."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keep a service's handlers."""
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})
