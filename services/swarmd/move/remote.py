"""The daemons of one node, as a move calls them: with a limit to each wait, and errors that say which node it was."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from beeyard.container.v1 import container_pb2_grpc, volume_pb2_grpc
from beeyard.image.v1 import image_pb2, image_pb2_grpc
from beeyard.network.v1 import network_pb2_grpc
from services.kit import errors
from services.kit.rpc import client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    import grpc.aio

    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.move.ports import Report

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 30.0
STALL_S: Final = 120.0
"""A stream on which nothing comes for so long has failed."""


class Remote:
    """One node. Made anew for each piece of work, because a node may have moved."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.containers = container_pb2_grpc.ContainerServiceStub(channel)
        self.volumes = volume_pb2_grpc.VolumeServiceStub(channel)
        self.images = image_pb2_grpc.ImageServiceStub(channel)
        self.networks = network_pb2_grpc.NetworkServiceStub(channel)

    @classmethod
    async def reach(cls, dialer: NodeDialer, node_id: str) -> Remote:
        """Return a node.

        Raises:
            errors.NotFound: NODE_NOT_FOUND.
            errors.Unavailable: NODE_UNREACHABLE.
        """
        return cls(await dialer.channel(node_id))

    async def pull(self, reference: str, peer: str, report: Report) -> None:
        """Have the node fetch an image from a peer. What it has already is not sent."""
        request = image_pb2.PullRequest(reference=reference, peer_node_ids=[peer])
        done = False
        async for response in unstalled(client.stream(self.images.Pull(request))):
            if response.WhichOneof("event") == "done":
                done = True
            else:
                progress = response.progress
                if progress.phase == "downloading":
                    report(progress.id, progress.done_bytes, progress.total_bytes)
        if not done:
            raise errors.Unavailable(f"the pull of {reference} ended without a result", reason="STREAM_CUT")

    async def remove_image(self, reference: str) -> None:
        """Take a name from an image, and with the last one the image unless a container uses it. Idempotent."""
        request = image_pb2.RemoveImageRequest(reference=reference, force=True)
        with contextlib.suppress(errors.NotFound):
            await within(self.images.RemoveImage(request, timeout=CALL_TIMEOUT_S))


async def within(call: Awaitable[T]) -> T:
    """Return the response of a call that carries its own time limit.

    Raises:
        errors.BeeyardError: What the node's daemon, or the way to it, says.
    """
    return await client.call(call)


async def unstalled(responses: AsyncIterator[T], stall_s: float = STALL_S) -> AsyncIterator[T]:
    """Yield what comes on a stream; fail if nothing comes for too long.

    Raises:
        errors.Unavailable: STREAM_STALLED.
    """
    iterator = aiter(responses)
    try:
        while True:
            try:
                async with asyncio.timeout(stall_s):
                    item = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise errors.Unavailable(
                    f"nothing has come for {stall_s:g} s", reason="STREAM_STALLED"
                ) from None
            yield item
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
