"""DataplaneService: what a swarm declares. This version has no overlay networks: every call is refused, by name."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

from typing import NoReturn

from beeyard.network.v1 import dataplane_pb2 as pb
from beeyard.network.v1 import dataplane_pb2_grpc
from services.kit import errors
from services.kit.rpc.types import Context


class DataplaneService(dataplane_pb2_grpc.DataplaneServiceServicer):
    """Overlay networks, virtual addresses and the routing mesh."""

    async def DeclareNetwork(
        self, request: pb.DeclareNetworkRequest, context: Context
    ) -> pb.DeclareNetworkResponse:
        _refuse("overlay networks")

    async def ForgetNetwork(
        self, request: pb.ForgetNetworkRequest, context: Context
    ) -> pb.ForgetNetworkResponse:
        _refuse("overlay networks")

    async def DeclareService(
        self, request: pb.DeclareServiceRequest, context: Context
    ) -> pb.DeclareServiceResponse:
        _refuse("virtual addresses of services")

    async def ForgetService(
        self, request: pb.ForgetServiceRequest, context: Context
    ) -> pb.ForgetServiceResponse:
        _refuse("virtual addresses of services")

    async def DeclareIngress(
        self, request: pb.DeclareIngressRequest, context: Context
    ) -> pb.DeclareIngressResponse:
        _refuse("the routing mesh")


def _refuse(what: str) -> NoReturn:
    raise errors.Unsupported(f"this version of netd does not have {what}", reason="UNSUPPORTED")
