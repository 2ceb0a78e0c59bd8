"""A containerd that talks back: one method of each kind of call, and a record of how its calls ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from services.kit import errors
from services.kit.rpc.types import Context

LINES = 1000
LINE_BYTES = 64 << 10


class Engine(container_pb2_grpc.ContainerServiceServicer):
    """Answers with what it was asked, and its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.metadata: dict[str, Any] = {}
        self.time_remaining: float | None = None
        self.cancelled = asyncio.Event()
        self.reached = asyncio.Event()
        self.sent = 0
        self.received = 0

    async def GetContainer(
        self, request: container_pb2.GetContainerRequest, context: Context
    ) -> container_pb2.GetContainerResponse:
        self.metadata = dict(context.invocation_metadata() or ())
        self.time_remaining = context.time_remaining()
        self.reached.set()
        match request.container:
            case "missing":
                raise errors.NotFound("no such container: missing", reason="GONE", metadata={"a": "b"})
            case "stopping":
                raise errors.Unavailable("containerd is stopping", reason="SHUTTING_DOWN")
            case "slow":
                await self._hang()
        await context.send_initial_metadata((("x-initial", "i"),))
        context.set_trailing_metadata((("x-trailing", "t"),))
        response = container_pb2.GetContainerResponse()
        response.container.id = self.name
        return response

    async def GetLogs(
        self, request: container_pb2.GetLogsRequest, context: Context
    ) -> AsyncIterator[container_pb2.GetLogsResponse]:
        try:
            for _ in range(LINES):
                yield container_pb2.GetLogsResponse(lines=[container_pb2.LogLine(data=b"x" * LINE_BYTES)])
                self.sent += 1
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def CopyIn(
        self, request_iterator: AsyncIterator[container_pb2.CopyInRequest], context: Context
    ) -> container_pb2.CopyInResponse:
        async for request in request_iterator:
            if request.chunk == b"refuse":
                raise errors.Exhausted("no space is left", reason="DISK_FULL")
            self.received += len(request.chunk)
        return container_pb2.CopyInResponse()

    async def Exec(
        self, request_iterator: AsyncIterator[container_pb2.ExecRequest], context: Context
    ) -> AsyncIterator[container_pb2.ExecResponse]:
        try:
            async for request in request_iterator:
                yield container_pb2.ExecResponse(output=container_pb2.Output(data=request.stdin))
        finally:  # gRPC ends the requests of a call whose caller is gone, or cancels us, whichever is first
            self.cancelled.set()

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
