"""PeerService: finding images and nodes. Managers answer, workers ask one."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)
from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from beeyard.swarm.v1 import peer_pb2, peer_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.members.images import HOLDERS_DEFAULT, HOLDERS_MAX, own_platform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.kit.rpc.types import Context
    from services.swarmd.gateway.ports import ManagerDialer, NodeLookup, NodePlace
    from services.swarmd.members.images import ImageHolders

T = TypeVar("T")

FORWARD_TIMEOUT_S: Final = 6.0
ATTEMPTS_MAX: Final = 3


class ManagerPeers(peer_pb2_grpc.PeerServiceServicer):
    """What a manager answers, from its own copy of the store."""

    def __init__(self, *, lookup: NodeLookup, images: ImageHolders) -> None:
        self._lookup = lookup
        self._images = images

    async def LocateImage(
        self, request: peer_pb2.LocateImageRequest, context: Context
    ) -> peer_pb2.LocateImageResponse:
        """Ask the nodes."""
        if not request.reference:
            raise errors.Invalid("an image is named by its reference")
        located = await self._images.locate(request.reference, request.platform)
        holders_max = min(request.holders_max or HOLDERS_DEFAULT, HOLDERS_MAX)
        return peer_pb2.LocateImageResponse(
            manifest_digest=located.manifest_digest,
            image_id=located.image_id,
            holders=[_address(place) for place in located.holders[:holders_max]],
        )

    async def LocateNode(
        self, request: peer_pb2.LocateNodeRequest, context: Context
    ) -> peer_pb2.LocateNodeResponse:
        """Look it up."""
        return peer_pb2.LocateNodeResponse(node=_address(await self._lookup.find(request.node)))


class WorkerPeers(peer_pb2_grpc.PeerServiceServicer):
    """What a worker answers: what a manager told it."""

    def __init__(self, managers: ManagerDialer) -> None:
        self._managers = managers

    async def LocateImage(
        self, request: peer_pb2.LocateImageRequest, context: Context
    ) -> peer_pb2.LocateImageResponse:
        """Ask a manager."""
        asked = peer_pb2.LocateImageRequest()
        asked.CopyFrom(request)
        asked.platform = request.platform or own_platform()
        return await self._ask(lambda stub: stub.LocateImage(asked, timeout=FORWARD_TIMEOUT_S))

    async def LocateNode(
        self, request: peer_pb2.LocateNodeRequest, context: Context
    ) -> peer_pb2.LocateNodeResponse:
        """Ask a manager."""
        return await self._ask(lambda stub: stub.LocateNode(request, timeout=FORWARD_TIMEOUT_S))

    async def _ask(self, make_call: Callable[[peer_pb2_grpc.PeerServiceStub], Awaitable[T]]) -> T:
        failure: errors.BeeyardError = errors.Unavailable("no manager answers", reason="NO_MANAGER")
        for _ in range(ATTEMPTS_MAX):
            connection = await self._managers.connect()
            try:
                return await client.call(make_call(peer_pb2_grpc.PeerServiceStub(connection.channel)))
            except (errors.Unavailable, errors.FailedPrecondition) as exc:
                self._managers.failed(connection)
                failure = exc
        raise failure


def _address(place: NodePlace) -> peer_pb2.NodeAddress:
    return peer_pb2.NodeAddress(node_id=place.node_id, address=place.address, hostname=place.hostname)
