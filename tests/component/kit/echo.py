"""A service with one method of each kind, served and called over a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from services.kit.rpc import client, server
from services.kit.rpc.types import Context

SERVICE = "beeyard.test.v1.EchoService"


class Echo:
    """What each method does is a function that a test may replace; by default they echo."""

    def __init__(self) -> None:
        self.on_unary: Callable[[bytes, Context], Awaitable[bytes]] = self.echo
        self.started = asyncio.Event()
        self.ended: list[str] = []

    async def echo(self, data: bytes, _context: Context) -> bytes:
        return data

    async def Unary(self, request: BytesValue, context: Context) -> BytesValue:
        return BytesValue(value=await self.on_unary(request.value, context))

    async def ServerStream(self, request: BytesValue, context: Context) -> AsyncIterator[BytesValue]:
        """Echo each byte, then wait for ever if the last one is an exclamation mark."""
        try:
            for byte in request.value:
                yield BytesValue(value=bytes([byte]))
            self.started.set()
            if request.value.endswith(b"!"):
                await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("ended")

    async def ClientStream(self, requests: AsyncIterator[BytesValue], context: Context) -> BytesValue:
        return BytesValue(value=b"".join([request.value async for request in requests]))

    async def BidiStream(
        self, requests: AsyncIterator[BytesValue], context: Context
    ) -> AsyncIterator[BytesValue]:
        async for request in requests:
            yield request

    async def WritesItself(self, request: BytesValue, context: Context) -> None:
        """The other form of a streaming handler: a coroutine that writes through the context."""
        for byte in request.value:
            await context.write(BytesValue(value=bytes([byte])))


def add_echo_to_server(servicer: Echo, target: grpc.aio.Server) -> None:
    """Register in the way of generated code."""
    codec: dict[str, Any] = {
        "request_deserializer": BytesValue.FromString,
        "response_serializer": BytesValue.SerializeToString,
    }
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.Unary, **codec),
        "ServerStream": grpc.unary_stream_rpc_method_handler(servicer.ServerStream, **codec),
        "ClientStream": grpc.stream_unary_rpc_method_handler(servicer.ClientStream, **codec),
        "BidiStream": grpc.stream_stream_rpc_method_handler(servicer.BidiStream, **codec),
        "WritesItself": grpc.unary_stream_rpc_method_handler(servicer.WritesItself, **codec),
    }
    target.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    target.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]


class EchoStub:
    """The client's side of the service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec: dict[str, Any] = {
            "request_serializer": BytesValue.SerializeToString,
            "response_deserializer": BytesValue.FromString,
        }
        self.Unary: Any = channel.unary_unary(f"/{SERVICE}/Unary", **codec)
        self.ServerStream: Any = channel.unary_stream(f"/{SERVICE}/ServerStream", **codec)
        self.ClientStream: Any = channel.stream_unary(f"/{SERVICE}/ClientStream", **codec)
        self.BidiStream: Any = channel.stream_stream(f"/{SERVICE}/BidiStream", **codec)
        self.WritesItself: Any = channel.unary_stream(f"/{SERVICE}/WritesItself", **codec)
        self.Missing: Any = channel.unary_unary(f"/{SERVICE}/Missing", **codec)


@dataclasses.dataclass
class Served:
    """A running server, and a client of it."""

    echo: Echo
    server: server.RpcServer
    channel: grpc.aio.Channel
    stub: EchoStub
    path: Path


@contextlib.asynccontextmanager
async def serving(path: Path, *, follows: tuple[str, ...] = ()) -> AsyncIterator[Served]:
    """Serve the echo service on a unix socket."""
    echo, echo_server = Echo(), server.RpcServer("echo")
    echo_server.add(add_echo_to_server, echo, follows=follows)
    echo_server.listen_unix(path)
    await echo_server.start()
    try:
        async with client.channel_unix(path) as channel:
            yield Served(echo, echo_server, channel, EchoStub(channel), path)
    finally:
        await echo_server.drain(0)
