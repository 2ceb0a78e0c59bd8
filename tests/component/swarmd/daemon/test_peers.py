"""Images and engines of other nodes, through whole nodes with an engine that talks back below each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from beeyard.image.v1 import content_pb2, content_pb2_grpc, image_pb2, image_pb2_grpc
from beeyard.swarm.v1 import peer_pb2, peer_pb2_grpc
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from tests.component.swarmd.daemon.swarm import Swarm, SwarmNode
from tests.component.swarmd.gateway.engine import Engine

BLOB = b"x" * 300_000


class Images(image_pb2_grpc.ImageServiceServicer):
    """Images by reference: manifest digest, and when the name moved to it."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, datetime]] = {}
        self.asked = 0

    async def GetImage(
        self, request: image_pb2.GetImageRequest, context: Context
    ) -> image_pb2.GetImageResponse:
        self.asked += 1
        if request.reference not in self.known:
            raise errors.NotFound(f"no such image: {request.reference}", reason="IMAGE_NOT_FOUND")
        digest, tagged_at = self.known[request.reference]
        response = image_pb2.GetImageResponse()
        response.image.id = f"id-of-{digest}"
        response.image.manifest_digest = digest
        response.image.tagged_at.FromDatetime(tagged_at)
        return response


class Content(content_pb2_grpc.ContentServiceServicer):
    """One blob."""

    async def Read(
        self, request: content_pb2.ReadRequest, context: Context
    ) -> AsyncIterator[content_pb2.ReadResponse]:
        for at in range(0, len(BLOB), 65536):
            yield content_pb2.ReadResponse(chunk=BLOB[at : at + 65536])


@contextlib.asynccontextmanager
async def _engines(nodes: list[SwarmNode]) -> AsyncIterator[list[Images]]:
    """Run an imaged and a containerd for each node."""
    async with contextlib.AsyncExitStack() as stack:
        made: list[Images] = []
        for node in nodes:
            images = Images()
            imaged, containerd = RpcServer("imaged"), RpcServer("containerd")
            imaged.add(image_pb2_grpc.add_ImageServiceServicer_to_server, images)
            imaged.add(content_pb2_grpc.add_ContentServiceServicer_to_server, Content())
            containerd.add(container_pb2_grpc.add_ContainerServiceServicer_to_server, Engine(node.hostname))
            for server, name in ((imaged, "imaged"), (containerd, "containerd")):
                server.listen_unix(node.root / "r" / f"{name}.sock")
                await server.start()
                stack.push_async_callback(server.drain, 0)
            made.append(images)
        yield made


async def _locate(node: SwarmNode, reference: str) -> peer_pb2.LocateImageResponse:
    stub = peer_pb2_grpc.PeerServiceStub(node.channel)
    return await client.call(stub.LocateImage(peer_pb2.LocateImageRequest(reference=reference), timeout=30))


async def test_an_image_that_one_node_has_is_found_by_all(fleet: Swarm) -> None:
    nodes = await fleet.found(2, 2)
    async with _engines(nodes) as images:
        images[2].known["web:1"] = ("sha256:aa", datetime(2030, 1, 1, tzinfo=UTC))
        for node in nodes:
            found = await _locate(node, "web:1")
            assert found.manifest_digest == "sha256:aa"
            assert found.image_id == "id-of-sha256:aa"
            assert [holder.hostname for holder in found.holders] == [nodes[2].hostname]
        with pytest.raises(errors.NotFound) as refused:
            await _locate(nodes[3], "nothing:1")
        assert refused.value.reason == "IMAGE_NOT_FOUND"


async def test_the_newest_tagging_is_what_a_name_means(fleet: Swarm) -> None:
    nodes = await fleet.found(1, 2)
    async with _engines(nodes) as images:
        images[0].known["web:1"] = ("sha256:old", datetime(2030, 1, 1, tzinfo=UTC))
        images[1].known["web:1"] = ("sha256:new", datetime(2030, 1, 3, tzinfo=UTC))
        images[2].known["web:1"] = ("sha256:new", datetime(2030, 1, 2, tzinfo=UTC))
        found = await _locate(nodes[0], "web:1")
        assert found.manifest_digest == "sha256:new"
        assert {holder.hostname for holder in found.holders} == {nodes[1].hostname, nodes[2].hostname}
        asked = [its.asked for its in images]
        await _locate(nodes[0], "web:1")
        assert [its.asked for its in images] == asked  # remembered for a moment


async def test_a_node_that_is_away_does_not_matter(fleet: Swarm) -> None:
    nodes = await fleet.found(1, 2)
    async with _engines(nodes) as images:
        images[1].known["web:1"] = ("sha256:aa", datetime(2030, 1, 1, tzinfo=UTC))
        await nodes[2].stop()
        found = await _locate(nodes[0], "web:1")
        assert [holder.hostname for holder in found.holders] == [nodes[1].hostname]


async def test_a_blob_comes_from_a_peer(fleet: Swarm) -> None:
    """As imaged fetches it: over its own node's socket, from a worker to a worker."""
    nodes = await fleet.found(1, 2)
    async with _engines(nodes):
        stub = content_pb2_grpc.ContentServiceStub(nodes[1].channel)
        where = (("beeyard-node", nodes[2].hostname),)
        chunks = [
            response.chunk
            async for response in stub.Read(content_pb2.ReadRequest(digest="sha256:aa"), metadata=where)
        ]
        assert b"".join(chunks) == BLOB


async def test_containers_of_any_node_through_a_manager_and_none_through_a_worker(fleet: Swarm) -> None:
    nodes = await fleet.found(2, 1)
    m1, m2, w1 = nodes
    request = container_pb2.GetContainerRequest(container="x")
    async with _engines(nodes):
        for through in (m1, m2):
            stub = container_pb2_grpc.ContainerServiceStub(through.channel)
            for node in nodes:
                found = await stub.GetContainer(request, metadata=(("beeyard-node", node.hostname),))
                assert found.container.id == node.hostname
        stub = container_pb2_grpc.ContainerServiceStub(w1.channel)
        assert (await stub.GetContainer(request)).container.id == w1.hostname
        with pytest.raises(errors.PermissionDenied):
            await client.call(stub.GetContainer(request, metadata=(("beeyard-node", m1.hostname),)))


async def test_the_daemons_of_any_node_say_how_they_are(fleet: Swarm) -> None:
    m1, w1 = await fleet.found(1, 1)
    stub = system_pb2_grpc.SystemServiceStub(m1.channel)
    info = await stub.GetInfo(system_pb2.GetInfoRequest(), metadata=(("beeyard-node", w1.hostname),))
    assert (info.daemon, info.hostname) == ("swarmd", w1.hostname)
    assert {fact.key: fact.value for fact in info.facts}["SWARM_IS_MANAGER"] == "false"
    with pytest.raises(errors.Unavailable, match=f"netd of node {w1.hostname}") as refused:
        await client.call(
            stub.Ping(
                system_pb2.PingRequest(),
                metadata=(("beeyard-node", w1.hostname), ("beeyard-daemon", "netd")),
            )
        )
    assert refused.value.reason == "DAEMON_UNREACHABLE"


async def test_a_node_outside_of_a_swarm_serves_itself_only(fleet: Swarm) -> None:
    (node,) = await fleet.start(1)
    async with _engines([node]):
        stub = container_pb2_grpc.ContainerServiceStub(node.channel)
        request = container_pb2.GetContainerRequest(container="x")
        assert (await stub.GetContainer(request)).container.id == node.hostname
        with pytest.raises(errors.FailedPrecondition) as refused:
            await client.call(stub.GetContainer(request, metadata=(("beeyard-node", "other"),)))
        assert refused.value.reason == "NOT_IN_SWARM"
        with pytest.raises(errors.FailedPrecondition) as refused:
            await _locate(node, "web:1")
        assert refused.value.reason == "NOT_IN_SWARM"
