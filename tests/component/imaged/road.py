"""Stands where swarmd stands: finds images on other daemons, and carries calls to them, badly if asked to."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from beeyard.image.v1 import content_pb2
from beeyard.swarm.v1 import peer_pb2, peer_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from tests.component.imaged.rig import Daemon


@dataclass(slots=True)
class Fault:
    """What goes wrong when one node is read."""

    break_after_bytes: int | None = None
    corrupt: bool = False
    absent: bool = False
    slow_s: float = 0.0


@dataclass(slots=True)
class Road:
    """The swarm as one imaged sees it."""

    nodes: dict[str, Daemon]
    faults: dict[str, Fault] = field(default_factory=dict)
    refusal: errors.BeeyardError | None = None
    reads: collections.Counter[str] = field(default_factory=collections.Counter)
    offsets: list[int] = field(default_factory=list)
    at_once: int = 0
    at_once_max: int = 0

    def server(self) -> RpcServer:
        """Return a server to put on swarmd's socket."""
        server = RpcServer("swarmd")
        server.add(peer_pb2_grpc.add_PeerServiceServicer_to_server, _Peers(self))
        server.add_generic(_Forward(self))
        return server


class _Peers(peer_pb2_grpc.PeerServiceServicer):
    def __init__(self, road: Road) -> None:
        self._road = road

    async def LocateImage(self, request: Any, context: Any) -> peer_pb2.LocateImageResponse:
        if self._road.refusal is not None:
            raise self._road.refusal
        holders, image = [], None
        for node_id, daemon in self._road.nodes.items():
            try:
                image = await daemon.get(request.reference)
            except errors.NotFound:
                continue
            holders.append(peer_pb2.NodeAddress(node_id=node_id))
        if image is None:
            raise errors.NotFound("no node has it", reason="IMAGE_NOT_FOUND")
        return peer_pb2.LocateImageResponse(
            manifest_digest=image.manifest_digest, image_id=image.id, holders=holders
        )


class _Forward(grpc.GenericRpcHandler):
    """Carries ContentService/Read as raw bytes."""

    def __init__(self, road: Road) -> None:
        self._road = road

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if details.method != "/beeyard.image.v1.ContentService/Read":
            return None
        node_id = dict(details.invocation_metadata)["beeyard-node"]
        return grpc.unary_stream_rpc_method_handler(
            lambda request, _context: self._read(str(node_id), request)
        )

    async def _read(self, node_id: str, request: bytes) -> AsyncIterator[bytes]:
        road, fault = self._road, self._road.faults.get(node_id, Fault())
        road.reads[node_id] += 1
        road.offsets.append(content_pb2.ReadRequest.FromString(request).offset)
        if fault.absent:
            raise errors.NotFound("it was here a moment ago", reason="BLOB_NOT_FOUND")
        road.at_once += 1
        road.at_once_max = max(road.at_once_max, road.at_once)
        try:
            await asyncio.sleep(fault.slow_s)
            call = self._road.nodes[node_id].channel.unary_stream("/beeyard.image.v1.ContentService/Read")(
                request
            )
            sent = 0
            async for response in client.stream(call):
                message = content_pb2.ReadResponse.FromString(response)
                if fault.corrupt:
                    message.chunk = bytes(len(message.chunk))
                if (
                    fault.break_after_bytes is not None
                    and sent + len(message.chunk) > fault.break_after_bytes
                ):
                    yield content_pb2.ReadResponse(
                        chunk=message.chunk[: fault.break_after_bytes - sent]
                    ).SerializeToString()
                    raise errors.Unavailable("the node is gone", reason="NODE_UNREACHABLE")
                sent += len(message.chunk)
                yield message.SerializeToString()
        finally:
            road.at_once -= 1
