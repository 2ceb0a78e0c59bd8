"""SandboxService."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

from beeyard.network.v1 import sandbox_pb2 as pb
from beeyard.network.v1 import sandbox_pb2_grpc
from services.kit.rpc.types import Context
from services.netd.api import from_pb, paging, to_pb
from services.netd.api.to_pb import Places
from services.netd.core import sandboxes
from services.netd.ledger import Ledger
from services.netd.sandboxes import Sandboxes


class SandboxService(sandbox_pb2_grpc.SandboxServiceServicer):
    """What the containers of the node have of the network."""

    def __init__(self, ledger: Ledger, sandboxes_: Sandboxes, places: Places) -> None:
        self._ledger = ledger
        self._sandboxes = sandboxes_
        self._places = places

    async def CreateSandbox(
        self, request: pb.CreateSandboxRequest, context: Context
    ) -> pb.CreateSandboxResponse:
        made = await self._sandboxes.create(from_pb.sandbox_spec(request.sandbox_id, request.spec))
        return pb.CreateSandboxResponse(
            sandbox=to_pb.sandbox(self._ledger.state, self._places, made), warnings=sandboxes.warnings(made)
        )

    async def RemoveSandbox(
        self, request: pb.RemoveSandboxRequest, context: Context
    ) -> pb.RemoveSandboxResponse:
        await self._sandboxes.remove(request.sandbox_id)
        return pb.RemoveSandboxResponse()

    async def GetSandbox(self, request: pb.GetSandboxRequest, context: Context) -> pb.GetSandboxResponse:
        found = sandboxes.find(self._ledger.state, request.sandbox_id)
        return pb.GetSandboxResponse(sandbox=to_pb.sandbox(self._ledger.state, self._places, found))

    async def ListSandboxes(
        self, request: pb.ListSandboxesRequest, context: Context
    ) -> pb.ListSandboxesResponse:
        part, token = paging.page(
            self._ledger.state.sandboxes.values(),
            lambda sandbox: sandbox.id,
            request.page_size,
            request.page_token,
        )
        return pb.ListSandboxesResponse(
            sandboxes=[to_pb.sandbox(self._ledger.state, self._places, sandbox) for sandbox in part],
            next_page_token=token,
        )

    async def UpdatePorts(self, request: pb.UpdatePortsRequest, context: Context) -> pb.UpdatePortsResponse:
        changed = await self._sandboxes.update_ports(request.sandbox_id, from_pb.port_specs(request.ports))
        return pb.UpdatePortsResponse(ports=to_pb.ports(changed.ports))
