"""Calls of every kind go through a node's gateway to its own daemons, and through another's, and nothing changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.gateway import forward
from services.swarmd.gateway.ports import NodePlace
from tests.component.swarmd.gateway import engine
from tests.component.swarmd.gateway.gatenode import Directory, GateNode

HERE: tuple[tuple[str, str], ...] = ()
THERE = (("beeyard-node", "host-m2"),)
WAYS = pytest.mark.parametrize("way", [HERE, THERE], ids=["local", "remote"])


def _stub(node: GateNode) -> container_pb2_grpc.ContainerServiceStub:
    return container_pb2_grpc.ContainerServiceStub(node.local)


def _target(m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]) -> engine.Engine:
    return m2.engine if way else m1.engine


def _get(container: str) -> container_pb2.GetContainerRequest:
    return container_pb2.GetContainerRequest(container=container)


@WAYS
async def test_a_single_answer(m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]) -> None:
    target = _target(m1, m2, way)
    call = _stub(m1).GetContainer(
        _get("x"), metadata=(*way, ("x-mine", "1"), ("x-bin", b"\xff\x00")), timeout=30
    )
    response = await call
    assert response.container.id == target.name
    assert dict(await call.initial_metadata())["x-initial"] == "i"
    assert dict(await call.trailing_metadata())["x-trailing"] == "t"
    assert target.metadata["x-mine"] == "1"
    assert target.metadata["x-bin"] == b"\xff\x00"
    assert "beeyard-node" not in target.metadata
    assert "beeyard-hop" not in target.metadata
    assert target.time_remaining is not None
    assert 0 < target.time_remaining <= 30


async def test_a_call_without_deadline_has_none_behind_the_gateway(m1: GateNode) -> None:
    await _stub(m1).GetContainer(_get("x"))
    assert m1.engine.time_remaining is None or m1.engine.time_remaining > 1e6


@WAYS
async def test_an_error_keeps_code_message_reason_and_details(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(errors.NotFound) as raised:
        await client.call(_stub(m1).GetContainer(_get("missing"), metadata=way))
    assert raised.value.message == "no such container: missing"
    assert (raised.value.reason, raised.value.metadata) == ("GONE", {"a": "b"})


@WAYS
async def test_a_daemons_own_unavailable_is_not_taken_for_a_broken_way(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(errors.Unavailable) as raised:
        await client.call(_stub(m1).GetContainer(_get("stopping"), metadata=way))
    assert raised.value.reason == "SHUTTING_DOWN"


@WAYS
async def test_a_stream_of_answers_comes_whole(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    size = 0
    async for response in _stub(m1).GetLogs(container_pb2.GetLogsRequest(), metadata=way):
        size += len(response.lines[0].data)
    assert size == engine.LINES * engine.LINE_BYTES


@WAYS
async def test_a_slow_reader_holds_the_source_back(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    """Nothing but the buffers of the connections fills up: the source cannot run away from its reader."""
    target = _target(m1, m2, way)
    call = _stub(m1).GetLogs(container_pb2.GetLogsRequest(), metadata=way)
    await call.read()
    sent = -1
    while sent != target.sent:
        sent = target.sent
        await asyncio.sleep(0.2)
    assert sent < engine.LINES
    call.cancel()
    await asyncio.wait_for(target.cancelled.wait(), 10)


@WAYS
async def test_a_stream_of_requests(m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]) -> None:
    async def chunks() -> AsyncIterator[container_pb2.CopyInRequest]:
        for _ in range(64):
            yield container_pb2.CopyInRequest(chunk=b"y" * 65536)

    await _stub(m1).CopyIn(chunks(), metadata=way)
    assert _target(m1, m2, way).received == 64 * 65536


@WAYS
async def test_a_refusal_in_the_middle_of_a_stream_of_requests(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    """The reason arrives, although the messages that were on the way behind it could not be delivered."""
    call = m1.local.stream_stream("/beeyard.container.v1.ContainerService/CopyIn")(metadata=way)
    await call.wait_for_connection()
    chunk = container_pb2.CopyInRequest(chunk=b"y" * 65536).SerializeToString()
    await forward.write(call, container_pb2.CopyInRequest(chunk=b"refuse").SerializeToString())
    while await forward.write(call, chunk):
        pass
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await call.details() == "no space is left"


@WAYS
async def test_both_ways_at_once(m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]) -> None:
    call = _stub(m1).Exec(metadata=way)
    for number in range(20):
        await call.write(container_pb2.ExecRequest(stdin=b"%d" % number))
        response = await call.read()
        assert isinstance(response, container_pb2.ExecResponse)
        assert response.output.data == b"%d" % number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@WAYS
async def test_the_callers_end_ends_the_call(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    target = _target(m1, m2, way)
    call = _stub(m1).GetContainer(_get("slow"), metadata=way)
    task = asyncio.get_running_loop().create_task(_await(call))
    await asyncio.wait_for(target.reached.wait(), 10)
    call.cancel()
    await asyncio.wait_for(target.cancelled.wait(), 10)
    await asyncio.wait([task])


@WAYS
async def test_the_deadline_ends_the_call(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await _stub(m1).GetContainer(_get("slow"), metadata=way, timeout=1)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(_target(m1, m2, way).cancelled.wait(), 10)


@WAYS
async def test_a_bidirectional_call_ends_with_its_caller(
    m1: GateNode, m2: GateNode, way: tuple[tuple[str, str], ...]
) -> None:
    call = _stub(m1).Exec(metadata=way)
    await call.write(container_pb2.ExecRequest(stdin=b"x"))
    await call.read()
    call.cancel()
    await asyncio.wait_for(_target(m1, m2, way).cancelled.wait(), 10)


async def test_methods_that_this_release_does_not_know_go_through(m1: GateNode) -> None:
    call = m1.local.unary_unary("/beeyard.container.v1.ContainerService/Fly")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_node_that_is_away_is_named(m1: GateNode, directory: Directory) -> None:
    directory.places.append(NodePlace(node_id="w9", address="127.0.0.1:1", hostname="host-w9"))
    with pytest.raises(errors.Unavailable, match=r"host-w9 \(w9\) at 127\.0\.0\.1:1") as raised:
        await client.call(_stub(m1).GetContainer(_get("x"), metadata=(("beeyard-node", "w9"),)))
    assert raised.value.reason == "NODE_UNREACHABLE"
    assert raised.value.metadata["node_id"] == "w9"


async def test_a_node_that_is_not_the_one_it_should_be_gets_nothing(
    m1: GateNode, m2: GateNode, directory: Directory
) -> None:
    directory.places.append(NodePlace(node_id="w9", address=m2.place.address, hostname="host-w9"))
    with pytest.raises(errors.Unavailable) as raised:
        await client.call(_stub(m1).GetContainer(_get("x"), metadata=(("beeyard-node", "w9"),)))
    assert raised.value.reason == "NODE_UNREACHABLE"
    assert not m2.engine.reached.is_set()


async def test_an_unknown_node_is_named(m1: GateNode) -> None:
    with pytest.raises(errors.NotFound) as raised:
        await client.call(_stub(m1).GetContainer(_get("x"), metadata=(("beeyard-node", "nobody"),)))
    assert raised.value.reason == "NODE_NOT_FOUND"


async def test_a_daemon_that_is_away_is_named(m1: GateNode) -> None:
    call = m1.local.unary_unary("/beeyard.network.v1.NetworkService/ListNetworks")
    with pytest.raises(errors.Unavailable, match="netd of node host-m1") as raised:
        await client.call(call(b""))
    assert raised.value.reason == "DAEMON_UNREACHABLE"


async def test_the_own_name_means_the_own_daemons(m1: GateNode) -> None:
    for name in ("m1", "host-m1", "HOST-M1", "self"):
        response = await _stub(m1).GetContainer(_get("x"), metadata=(("beeyard-node", name),))
        assert response.container.id == "m1"


async def test_a_call_takes_one_hop_at_most(m1: GateNode, m2: GateNode) -> None:
    """What m2 gets from m1 is for m2, whatever it says of other nodes."""
    async with m1.dial(m2) as channel:
        stub = container_pb2_grpc.ContainerServiceStub(channel)
        response = await stub.GetContainer(
            _get("x"), metadata=(("beeyard-hop", "1"), ("beeyard-node", "host-m1"))
        )
    assert response.container.id == "m2"


async def _await(call: grpc.aio.UnaryUnaryCall[object, object]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call
