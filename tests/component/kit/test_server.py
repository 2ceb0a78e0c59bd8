"""The server's life: addresses, health, reflection, generic handlers, TLS, and a drain that waits."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kit import errors
from services.kit.rpc import client, server
from services.kit.rpc import server as servers
from services.kit.rpc.types import Context
from tests.component.kit.authority import Authority
from tests.component.kit.echo import SERVICE, Echo, EchoStub, Served, add_echo_to_server, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_of_the_server_and_of_each_service(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE, "grpc.health.v1.Health"):
        response = await client.call(stub.Check(health_pb2.HealthCheckRequest(service=name)))
        assert response.status == SERVING
    with pytest.raises(errors.NotFound):
        await client.call(stub.Check(health_pb2.HealthCheckRequest(service="unknown")))


async def test_reflection_lists_the_services(served: Served) -> None:
    async def ask():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health")

    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    listing, file = [response async for response in client.stream(stub.ServerReflectionInfo(ask()))]
    assert {service.name for service in listing.list_services_response.service} == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert file.file_descriptor_response.file_descriptor_proto


async def test_the_socket_is_for_root_and_the_group(served: Served) -> None:
    status = served.path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660


@pytest.mark.root
async def test_the_group_may_use_the_socket(socket_dir: Path) -> None:
    for group, gid in (("daemon", 1), ("no-such-group", os.getgid())):
        one = server.RpcServer("x")
        one.listen_unix(socket_dir / group, group)
        await one.start()
        assert (socket_dir / group).stat().st_gid == gid
        await one.drain(0)


async def test_the_socket_goes_with_the_server_and_a_stale_one_is_replaced(socket_dir: Path) -> None:
    path = socket_dir / "echo.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with serving(path) as served:
        assert (await client.call(served.stub.Unary(BytesValue(value=b"a")))).value == b"a"
    assert not path.exists()


async def test_a_socket_in_use_is_left_alone(served: Served) -> None:
    second = server.RpcServer("second")
    second.listen_unix(served.path)
    with pytest.raises(errors.FailedPrecondition, match="another process listens") as caught:
        await second.start()
    assert caught.value.reason == "ADDRESS_IN_USE"
    assert (await client.call(served.stub.Unary(BytesValue(value=b"a")))).value == b"a"


async def test_a_path_that_is_too_long_is_explained(tmp_path: Path) -> None:
    one = server.RpcServer("x")
    one.listen_unix(tmp_path / ("x" * 100))
    with pytest.raises(errors.Invalid, match="choose a shorter run directory"):
        await one.start()


async def test_one_server_on_several_addresses(socket_dir: Path) -> None:
    one = server.RpcServer("x")
    one.add(add_echo_to_server, Echo())
    for name in ("a", "b"):
        one.listen_unix(socket_dir / name)
    await one.start()
    for name in ("a", "b"):
        async with client.channel_unix(socket_dir / name) as channel:
            assert (await client.call(EchoStub(channel).Unary(BytesValue(value=b"x")))).value == b"x"
    await one.drain(0)


class Gateway(grpc.GenericRpcHandler):
    """Answers every method of one package with its name, as raw bytes."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method

        async def answer(requests: Any, _context: Context) -> Any:
            async for request in requests:
                if request == b"fail":
                    raise errors.NotFound("no such node", reason="NODE_NOT_FOUND")
                yield f"{method} {request.decode()}".encode()

        return (
            grpc.stream_stream_rpc_method_handler(answer) if method.startswith("/beeyard.remote.") else None
        )


async def test_generic_handlers_come_after_services_and_are_surrounded_too(socket_dir: Path) -> None:
    one = server.RpcServer("x")
    one.add_generic(Gateway(), name="gateway")
    one.add(add_echo_to_server, Echo())
    one.listen_unix(socket_dir / "x")
    await one.start()

    async def requests(*values: bytes):
        for value in values:
            yield value

    async with client.channel_unix(socket_dir / "x") as channel:
        assert (await client.call(EchoStub(channel).Unary(BytesValue(value=b"x")))).value == b"x"
        remote = channel.stream_stream("/beeyard.remote.v1.X/Get")
        assert [r async for r in client.stream(remote(requests(b"a", b"b")))] == [
            b"/beeyard.remote.v1.X/Get a",
            b"/beeyard.remote.v1.X/Get b",
        ]
        with pytest.raises(errors.NotFound) as caught:
            async for _ in client.stream(remote(requests(b"fail"))):
                pass
        assert caught.value.reason == "NODE_NOT_FOUND"
        with pytest.raises(errors.Unsupported):
            await client.call(channel.unary_unary("/other.X/Get")(b""))
    await one.drain(0)


async def tls_server(authority: Authority, name: str) -> tuple[server.RpcServer, int]:
    identity = authority.issue(name)
    credentials = grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)], root_certificates=authority.pem, require_client_auth=True
    )
    one = server.RpcServer("tls")
    echo = Echo()
    echo.on_unary = whoami
    one.add(add_echo_to_server, echo)
    one.listen_tls("127.0.0.1:0", credentials)
    await one.start()
    return one, one.ports["127.0.0.1:0"]


async def whoami(_data: bytes, context: Context) -> bytes:
    return b",".join(context.auth_context()["x509_common_name"])


async def test_mutual_tls_names_the_caller(authority: Authority) -> None:
    one, port = await tls_server(authority, "manager-1")
    identity = authority.issue("worker-7")
    credentials = grpc.ssl_channel_credentials(authority.pem, identity.key, identity.certificate)
    async with client.channel_tls(f"127.0.0.1:{port}", credentials, "manager-1") as channel:
        assert (await client.call(EchoStub(channel).Unary(BytesValue(), timeout=10))).value == b"worker-7"
    await one.drain(0)


async def test_strangers_are_not_let_in(authority: Authority) -> None:
    one, port = await tls_server(authority, "manager-1")
    stranger = Authority.create().issue("worker-7")
    friend = authority.issue("worker-7")
    cases = {
        "no certificate": (grpc.ssl_channel_credentials(authority.pem), "manager-1"),
        "another authority's": (
            grpc.ssl_channel_credentials(authority.pem, stranger.key, stranger.certificate),
            "manager-1",
        ),
        "another server name": (
            grpc.ssl_channel_credentials(authority.pem, friend.key, friend.certificate),
            "manager-2",
        ),
        "a server of another authority": (
            grpc.ssl_channel_credentials(Authority.create().pem, friend.key, friend.certificate),
            "manager-1",
        ),
    }
    for case, (credentials, name) in cases.items():
        async with client.channel_tls(f"127.0.0.1:{port}", credentials, name) as channel:
            with pytest.raises(errors.Unavailable):
                await client.call(EchoStub(channel).Unary(BytesValue(), timeout=10))
                pytest.fail(case)
    await one.drain(0)


async def test_a_port_in_use_is_an_error(authority: Authority) -> None:
    one, port = await tls_server(authority, "manager-1")
    identity = authority.issue("manager-2")
    second = server.RpcServer("second")
    second.listen_tls(
        f"127.0.0.1:{port}", grpc.ssl_server_credentials([(identity.key, identity.certificate)])
    )
    with pytest.raises(errors.FailedPrecondition, match="the address is in use"):
        await second.start()
    await one.drain(0)


async def in_flight(served: Served, count: int) -> None:
    async with asyncio.timeout(10):
        while served.server.in_flight != count:
            await asyncio.sleep(0.005)


async def test_a_drain_lets_calls_finish(served: Served) -> None:
    finish = asyncio.Event()

    async def work(data: bytes, _context: Context) -> bytes:
        await finish.wait()
        return data

    served.echo.on_unary = work
    call = asyncio.ensure_future(client.call(served.stub.Unary(BytesValue(value=b"done"))))
    await in_flight(served, 1)
    draining = asyncio.create_task(served.server.drain(30))
    await served.server.draining.wait()
    await asyncio.sleep(0.05)
    assert not draining.done()
    async with client.channel_unix(served.path) as late:
        with pytest.raises(errors.Unavailable):
            await client.call(EchoStub(late).Unary(BytesValue(), timeout=5))
    finish.set()
    assert (await call).value == b"done"
    await draining
    assert not served.path.exists()


async def test_after_the_grace_calls_are_cancelled_and_their_end_is_waited_for(served: Served) -> None:
    ended: list[str] = []

    async def work(_data: bytes, _context: Context) -> bytes:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)
            ended.append("cleaned up")
        return b""

    served.echo.on_unary = work
    call = asyncio.ensure_future(client.call(served.stub.Unary(BytesValue())))
    await in_flight(served, 1)
    await served.server.drain(0.05)
    assert ended == ["cleaned up"]
    assert served.server.in_flight == 0
    with pytest.raises(errors.BeeyardError):
        await call


async def test_a_handler_whose_client_has_left_is_waited_for(served: Served) -> None:
    """What grpc.aio's own stop does not do."""
    ended: list[str] = []

    async def work(_data: bytes, _context: Context) -> bytes:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            ended.append("cleaned up")
            raise
        return b""

    served.echo.on_unary = work
    call = served.stub.Unary(BytesValue())
    await in_flight(served, 1)
    call.cancel()
    await asyncio.sleep(0.05)
    assert ended == []
    await served.server.drain(0)
    assert ended == ["cleaned up"]


async def test_a_handler_that_never_ends_does_not_hold_the_drain_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "HANDLERS_END_S", 0.05)
    release = asyncio.Event()

    async def stubborn(_data: bytes, _context: Context) -> bytes:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return b""

    served.echo.on_unary = stubborn
    call = served.stub.Unary(BytesValue())
    await in_flight(served, 1)
    await served.server.drain(0)
    assert "rpc_handlers_stuck" in [record.getMessage() for record in caplog.records]
    release.set()
    await in_flight(served, 0)
    call.cancel()


async def test_followers_are_ended_at_once_with_a_reason(socket_dir: Path) -> None:
    async with serving(socket_dir / "x", follows=("ServerStream",)) as served:
        responses = client.stream(served.stub.ServerStream(BytesValue(value=b"a!")))
        for expected in (b"a", b"!"):
            assert (await anext(responses)).value == expected
        async with asyncio.timeout(10):
            await served.server.drain(3600)
        with pytest.raises(errors.Unavailable) as caught:
            await anext(responses)
        assert caught.value.reason == "SHUTTING_DOWN"
        assert served.echo.ended == ["cancelled", "ended"]


async def test_health_watchers_learn_of_the_drain(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    responses = client.stream(stub.Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(responses)).status == SERVING
    async with asyncio.timeout(10):
        await served.server.drain(3600)
    with pytest.raises(errors.Unavailable) as caught:
        async for response in responses:
            assert response.status == NOT_SERVING
    assert caught.value.reason == "SHUTTING_DOWN"


async def test_follows_must_name_methods_that_exist() -> None:
    with pytest.raises(AssertionError, match="Typo"):
        server.RpcServer("x").add(add_echo_to_server, Echo(), follows={"Typo"})


async def test_a_server_that_never_started_drains() -> None:
    await server.RpcServer("x").drain(0)


async def test_a_restarted_daemon_is_found_again_by_the_same_channel(socket_dir: Path) -> None:
    path = socket_dir / "echo.sock"
    async with client.channel_unix(path) as channel:
        stub = EchoStub(channel)
        for _ in range(2):
            async with serving(path):
                response = await client.call(
                    stub.Unary(BytesValue(value=b"a"), wait_for_ready=True, timeout=10)
                )
                assert response.value == b"a"
