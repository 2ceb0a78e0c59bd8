"""The calls of ContainerService that this version does not serve: each is refused by its name."""

# ruff: noqa: N802, ARG002 (the protos name the methods and their arguments)

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.kit.rpc.types import Context


class RefusedCalls(container_pb2_grpc.ContainerServiceServicer):
    """Answers UNIMPLEMENTED where ContainerService has no answer."""

    async def CheckpointContainer(
        self, request: pb.CheckpointContainerRequest, context: Context
    ) -> pb.CheckpointContainerResponse:
        _refuse("checkpoint")

    async def RestoreContainer(
        self, request: pb.RestoreContainerRequest, context: Context
    ) -> pb.RestoreContainerResponse:
        _refuse("restore")

    async def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, context: Context
    ) -> pb.ListCheckpointsResponse:
        _refuse("checkpoint")

    async def RemoveCheckpoint(
        self, request: pb.RemoveCheckpointRequest, context: Context
    ) -> pb.RemoveCheckpointResponse:
        _refuse("checkpoint")

    def ExportCheckpoint(
        self, request: pb.ExportCheckpointRequest, context: Context
    ) -> AsyncIterator[pb.ExportCheckpointResponse]:
        _refuse("checkpoint")

    async def ImportCheckpoint(
        self, request_iterator: AsyncIterator[pb.ImportCheckpointRequest], context: Context
    ) -> pb.ImportCheckpointResponse:
        _refuse("checkpoint")

    async def GetCheckpointSupport(
        self, request: pb.GetCheckpointSupportRequest, context: Context
    ) -> pb.GetCheckpointSupportResponse:
        _refuse("checkpoint")


def _refuse(command: str) -> NoReturn:
    raise errors.Unsupported(f"this version of containerd does not serve {command}", reason="UNSUPPORTED")
