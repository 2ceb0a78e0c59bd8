"""Who gets through the mTLS listener: certificates that are wrong in one way each, and the table of roles."""

import grpc
import grpc.aio
import pytest

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.ca.authority import Authority
from services.swarmd.gateway import authorization, methods
from services.swarmd.gateway.ports import CallerKind
from tests.component.swarmd.gateway.gatenode import (
    GateNode,
    client_credentials,
    credentials,
    new_root,
)


async def _reason(channel: grpc.aio.Channel, path: str) -> str:
    """Call a method with an empty request; return the reason of its refusal."""
    try:
        await client.call(channel.unary_unary(path)(b"", timeout=10))
    except errors.BeeyardError as exc:
        return exc.reason
    return "OK"


async def test_every_method_is_open_to_those_in_the_table_and_to_nobody_else(
    m1: GateNode, root: Authority
) -> None:
    every = {**methods.DAEMONS, **methods.SYSTEM, **methods.CONTROL, **methods.PEER, **methods.INTERNAL}
    callers = {
        CallerKind.MANAGER: credentials(root, "m9", manager=True),
        CallerKind.WORKER: credentials(root, "w9", manager=False),
        CallerKind.CLIENT: client_credentials(root, "ops"),
    }
    for kind, own in callers.items():
        async with m1.dial(m1, own) as channel:
            for path in every:
                if path.endswith("/GetContainer") or every[path].streams_responses:
                    continue  # answered by the engine; streams are asked below
                refused = await _reason(channel, path) == "ROLE_NOT_ALLOWED"
                assert refused == (kind not in authorization.allowed(path)), f"{kind} {path}"
            for path, method in every.items():
                if method.streams_responses and kind not in authorization.allowed(path):
                    call = channel.unary_stream(path)(b"", timeout=10)
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        async for _ in call:
                            pass
                    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED, f"{kind} {path}"


async def test_a_certificate_of_another_swarm_does_not_get_through(m1: GateNode) -> None:
    async with m1.dial(m1, credentials(new_root(), "m9", manager=True)) as channel:
        assert await _reason(channel, "/beeyard.swarm.v1.NodeService/ListNodes") == "UNAVAILABLE"


async def test_a_certificate_of_the_same_root_for_another_swarm(m1: GateNode, root: Authority) -> None:
    own = credentials(root, "m9", manager=True, cluster_id="cluster2")
    async with m1.dial(m1, own) as channel:
        assert await _reason(channel, "/beeyard.swarm.v1.NodeService/ListNodes") == "CERTIFICATE_INVALID"


async def test_a_blocked_certificate(m1: GateNode, root: Authority) -> None:
    m1.membership.refused.add("w9")
    async with m1.dial(m1, credentials(root, "w9", manager=False)) as channel:
        assert await _reason(channel, "/beeyard.image.v1.ContentService/Stat") == "NODE_REMOVED"


async def test_without_a_certificate_nobody_gets_in(m1: GateNode, root: Authority) -> None:
    anonymous = grpc.ssl_channel_credentials(root.root_pem)
    async with client.channel_tls(m1.place.address, anonymous, "m1") as channel:
        assert await _reason(channel, "/beeyard.image.v1.ContentService/Stat") == "UNAVAILABLE"


async def test_a_worker_cannot_use_another_nodes_engine(w1: GateNode, m1: GateNode) -> None:
    stub = container_pb2_grpc.ContainerServiceStub(w1.local)
    with pytest.raises(errors.PermissionDenied) as raised:
        await client.call(
            stub.GetContainer(
                container_pb2.GetContainerRequest(container="x"), metadata=(("beeyard-node", "m1"),)
            )
        )
    assert raised.value.reason == "ROLE_NOT_ALLOWED"
    assert not m1.engine.reached.is_set()


async def test_a_renewed_certificate_is_used_without_a_pause(
    m1: GateNode, m2: GateNode, root: Authority
) -> None:
    """A worker that becomes a manager: the listener presents its new certificate, old connections live on."""
    stub = container_pb2_grpc.ContainerServiceStub(m1.local)
    request, there = container_pb2.GetContainerRequest(container="x"), (("beeyard-node", "m2"),)
    stream = stub.Exec(metadata=there)
    await stream.write(container_pb2.ExecRequest(stdin=b"1"))
    await stream.read()
    renewed = credentials(root, "m2", manager=False)
    m2.tls.replace(renewed)
    m1.tls.replace(credentials(root, "m1", manager=True))
    assert (await stub.GetContainer(request, metadata=there)).container.id == "m2"
    async with m1.dial(m2, name="swarm-worker") as channel:  # the name in the new certificate
        again = container_pb2_grpc.ContainerServiceStub(channel)
        assert (await again.GetContainer(request)).container.id == "m2"
    await stream.write(container_pb2.ExecRequest(stdin=b"2"))
    response = await stream.read()
    assert isinstance(response, container_pb2.ExecResponse)
    assert response.output.data == b"2"
    stream.cancel()
