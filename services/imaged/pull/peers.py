"""The other nodes of the swarm as a source. The local swarmd finds who has an image and carries our calls there.

Both go through swarmd's socket: `PeerService` for the finding, and with the metadata `beeyard-node` the peers' own
`ContentService`, forwarded over mutual TLS. This daemon has no keys of its own and listens on no network.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from beeyard.image.v1 import content_pb2, content_pb2_grpc
from beeyard.swarm.v1 import peer_pb2, peer_pb2_grpc
from services.imaged.model import digest as digests
from services.imaged.model.descriptor import Descriptor
from services.imaged.pull.ports import Absence, Resolution
from services.kit import errors, log
from services.kit.rpc import client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    import grpc.aio

    from services.imaged.pull.ports import Origin, Query

_log = log.get(__name__)

NODE_METADATA = "beeyard-node"
LOCATE_TIMEOUT_S = 15.0
HOLDERS_MAX = 4
STALL_S = 20.0
"""A peer that sends nothing for so long is left for another."""


class PeerSource:
    """Finds images on the nodes of the swarm."""

    name = "peers"

    def __init__(self, swarmd_socket: Path) -> None:
        self._socket = swarmd_socket
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        """Close the connection to swarmd."""
        if self._channel is not None:
            await self._channel.close()

    async def resolve(self, query: Query) -> Resolution | Absence:
        """Ask swarmd who has the image."""
        if not self._socket.exists():
            return Absence(why="the swarm daemon does not run here, so there are no other nodes to ask")
        channel = self._connect()
        request = peer_pb2.LocateImageRequest(
            reference=str(query.reference), platform=str(query.platform), holders_max=HOLDERS_MAX
        )
        digest = query.reference.digest
        try:
            found = await client.call(
                peer_pb2_grpc.PeerServiceStub(channel).LocateImage(request, timeout=LOCATE_TIMEOUT_S)
            )
        except errors.BeeyardError as error:
            if query.hints and digest is not None:
                return self._resolution(digest, query.hints)
            return _absence(error)
        digest = digests.parse(found.manifest_digest)
        holders = [holder.node_id for holder in found.holders]
        if not holders and not query.hints:
            return Absence(why="no other node of the swarm has it")
        return self._resolution(digest, [*query.hints, *holders])

    def _resolution(self, digest: digests.Digest, nodes: Sequence[str]) -> Resolution:
        origins: list[Origin] = [PeerOrigin(self._connect(), node) for node in dict.fromkeys(nodes)]
        return Resolution(target=Descriptor(media_type="", digest=digest, size_bytes=0), origins=origins)

    def _connect(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = client.channel_unix(self._socket)
        return self._channel


class PeerOrigin:
    """One node that has the image."""

    def __init__(self, channel: grpc.aio.Channel, node_id: str) -> None:
        self._stub = content_pb2_grpc.ContentServiceStub(channel)
        self._node_id = node_id

    @property
    def label(self) -> str:
        """How progress names it."""
        return f"peer {self._node_id}"

    async def read(self, content: Descriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield content of that node's store."""
        request = content_pb2.ReadRequest(digest=str(content.digest), offset=offset)
        call = self._stub.Read(request, metadata=((NODE_METADATA, self._node_id),))
        async with contextlib.aclosing(client.stream(call)) as responses:
            while True:
                try:
                    async with asyncio.timeout(STALL_S):
                        response = await anext(responses, None)
                except TimeoutError:
                    raise errors.Unavailable(
                        f"node {self._node_id} has sent nothing for {STALL_S:g} s", reason="PEER_STALLED"
                    ) from None
                if response is None:
                    return
                yield response.chunk


def _absence(error: errors.BeeyardError) -> Absence:
    """Return why swarmd knows no holder; what may pass is raised again."""
    match error:
        case errors.BeeyardError(reason="NOT_IN_SWARM"):
            return Absence(why="this node is in no swarm, so there are no other nodes to ask")
        case errors.NotFound():
            return Absence(why="no other node of the swarm has it")
        case errors.Unsupported():
            return Absence(why="the swarm daemon of this node is too old to look for images")
        case errors.Unavailable():
            raise errors.Unavailable(
                f"the swarm could not be asked who has the image: {error.message}", reason="PEERS_UNAVAILABLE"
            ) from error
        case _:
            raise error
