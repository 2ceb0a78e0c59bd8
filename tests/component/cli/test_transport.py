"""The command line's gRPC against grpcio's server: what goes over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from cli.target import Credentials
from cli.transport import connect
from cli.transport.call import MESSAGE_BYTES_MAX, Call
from cli.transport.channel import Channel
from services.kit import errors
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from tests.component.cli.background import Background
from tests.component.kit.authority import Authority
from tests.component.kit.echo import SERVICE, Echo, add_echo_to_server


class Endpoint(Echo):
    """Echoes, or refuses what is uploaded."""

    refusal: errors.BeeyardError | None = None

    async def ClientStream(self, requests: AsyncIterator[BytesValue], context: Context) -> BytesValue:
        if self.refusal is not None:
            await anext(requests)
            raise self.refusal
        return await super().ClientStream(requests, context)


@pytest.fixture
def echo() -> Endpoint:
    return Endpoint()


@pytest.fixture
def served(echo: Endpoint, socket_dir: Path) -> Iterator[Background]:
    def build() -> list[RpcServer]:
        server = RpcServer("echo")
        server.add(add_echo_to_server, echo)
        server.listen_unix(socket_dir / "echo.sock")
        return [server]

    with Background(build) as running:
        yield running


@pytest.fixture
def channel(served: Background, socket_dir: Path) -> Iterator[Channel]:
    channel = connect.unix(str(socket_dir), "echo")
    yield channel
    channel.close()


def start(
    channel: Channel, method: str, value: bytes | None = None, timeout_s: float | None = 10
) -> Call[BytesValue, BytesValue]:
    request = None if value is None else BytesValue(value=value)
    return channel.start(f"/{SERVICE}/{method}", BytesValue, request, timeout_s=timeout_s)


def test_calls_one_after_the_other_and_together(channel: Channel) -> None:
    assert start(channel, "Unary", b"one").result().value == b"one"
    calls = [start(channel, "Unary", b"%d" % number) for number in range(50)]
    assert [call.result().value for call in reversed(calls)] == [b"%d" % n for n in range(49, -1, -1)]


def test_the_largest_message_passes_both_ways(channel: Channel) -> None:
    data = os.urandom(MESSAGE_BYTES_MAX - 16)
    assert start(channel, "Unary", data).result().value == data


def test_an_empty_message_is_one(channel: Channel) -> None:
    assert start(channel, "Unary", b"").result().value == b""


def test_streams_responses_in_order(channel: Channel) -> None:
    data = bytes(range(256)) * 8
    assert b"".join(response.value for response in start(channel, "ServerStream", data)) == data


def test_a_response_stream_can_be_left(channel: Channel, echo: Endpoint, served: Background) -> None:
    call = start(channel, "ServerStream", b"ab!")
    assert next(call).value == b"a"
    call.cancel()
    assert call.done
    assert start(channel, "Unary", b"after").result().value == b"after"

    async def ended() -> None:
        while "ended" not in echo.ended:
            await asyncio.sleep(0.01)

    served.do(asyncio.wait_for(ended(), 5))


def test_streams_requests_with_back_pressure(channel: Channel) -> None:
    chunk = os.urandom(200_000)
    call = start(channel, "ClientStream", None, timeout_s=60)
    for _ in range(40):
        call.send(BytesValue(value=chunk))
    call.end_requests()
    assert hashlib.sha256(call.result().value).digest() == hashlib.sha256(chunk * 40).digest()


def test_both_ways_at_once(channel: Channel) -> None:
    call = start(channel, "BidiStream")
    for number in range(20):
        call.send(BytesValue(value=b"%d" % number))
        assert next(call).value == b"%d" % number
    call.end_requests()
    assert list(call) == []


def test_a_slow_reader_holds_the_server_up_and_loses_nothing(channel: Channel) -> None:
    call = start(channel, "BidiStream", timeout_s=60)
    chunk = os.urandom(100_000)
    sent = 0
    while not call.congested:
        call.post(BytesValue(value=chunk))
        sent += 1
        channel.pump(0.05)
    assert sent < 200, "nothing ever held it up"
    call.end_requests()
    assert sum(response.value == chunk for response in call) == sent


def test_errors_keep_class_reason_and_metadata(channel: Channel, echo: Endpoint) -> None:
    async def refuse(_data: bytes, _context: Context) -> bytes:
        raise errors.FailedPrecondition(
            "nein, ünmöglich: 100%", reason="NOT_TODAY", metadata={"exit_code": "127"}
        )

    echo.on_unary = refuse
    with pytest.raises(errors.FailedPrecondition) as caught:
        start(channel, "Unary", b"x").result()
    assert caught.value.message == "nein, ünmöglich: 100%"
    assert (caught.value.reason, caught.value.metadata) == ("NOT_TODAY", {"exit_code": "127"})


def test_a_fault_of_the_daemon_is_internal(channel: Channel, echo: Endpoint) -> None:
    async def fail(_data: bytes, _context: Context) -> bytes:
        raise ZeroDivisionError

    echo.on_unary = fail
    with pytest.raises(errors.Internal) as caught:
        start(channel, "Unary", b"x").result()
    assert caught.value.metadata["request_id"]


def test_an_unknown_method_is_unsupported(channel: Channel) -> None:
    with pytest.raises(errors.Unsupported):
        start(channel, "Nothing", b"x").result()


def test_a_late_answer_is_not_waited_for(channel: Channel, echo: Endpoint) -> None:
    async def sleep(data: bytes, _context: Context) -> bytes:
        await asyncio.sleep(30)
        return data

    echo.on_unary = sleep
    began = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        start(channel, "Unary", b"x", timeout_s=0.2).result()
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 20


def test_metadata_goes_with_every_call(served: Background, echo: Endpoint, socket_dir: Path) -> None:
    seen: list[tuple[str, str | bytes]] = []

    async def look(data: bytes, context: Context) -> bytes:
        seen.extend(context.invocation_metadata() or ())
        return data

    echo.on_unary = look
    channel = connect.unix(str(socket_dir), "echo", [("beeyard-node", "worker-1")])
    start(channel, "Unary", b"x").result()
    channel.close()
    assert ("beeyard-node", "worker-1") in [tuple(pair) for pair in seen]


def test_a_sender_learns_that_the_call_failed(channel: Channel, echo: Endpoint) -> None:
    echo.refusal = errors.Exhausted("no space is left", reason="DISK_FULL")
    call = start(channel, "ClientStream", None, timeout_s=30)
    with pytest.raises(errors.Exhausted):
        for _ in range(1000):
            call.send(BytesValue(value=bytes(100_000)))


def test_a_server_that_drains_ends_calls_and_is_not_used_again(channel: Channel, served: Background) -> None:
    call = start(channel, "ServerStream", b"a!")
    assert [next(call).value, next(call).value] == [b"a", b"!"]
    drained = threading.Thread(target=lambda: served.do(served.servers[0].drain(0)))
    drained.start()
    with pytest.raises(errors.Unavailable):
        next(call)
    drained.join()
    channel.pump(0.1)
    assert not channel.usable


def test_a_socket_that_is_not_there_says_so(socket_dir: Path) -> None:
    with pytest.raises(
        errors.Unavailable, match=r"cannot connect to imaged at unix://.*is the daemon running"
    ):
        connect.unix(str(socket_dir), "imaged")
    with pytest.raises(errors.Invalid, match="longer than the kernel allows"):
        connect.unix(str(socket_dir), "x" * 120)


def test_a_server_of_another_kind_is_told_apart(socket_dir: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_dir / "web.sock"))
        listener.listen()
        channel = connect.unix(str(socket_dir), "web")
        call = start(channel, "Unary", b"x")
        accepted, _ = listener.accept()
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100)
        with pytest.raises(errors.Internal, match="does not speak the protocol"):
            call.result()
        accepted.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def write(directory: Path, authority: Authority, name: str) -> Credentials:
    identity = authority.issue(name)
    for file, data in (("ca", authority.pem), ("cert", identity.certificate), ("key", identity.key)):
        (directory / f"{file}.pem").write_bytes(data)
    return Credentials(*(str(directory / f"{file}.pem") for file in ("ca", "cert", "key")))


@pytest.fixture
def manager(echo: Endpoint, authority: Authority) -> Iterator[str]:
    """Address of a manager that wants client certificates."""
    identity = authority.issue(connect.SERVER_NAME)
    credentials = grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)], authority.pem, require_client_auth=True
    )

    def build() -> list[RpcServer]:
        server = RpcServer("manager")
        server.add(add_echo_to_server, echo)
        server.listen_tls("127.0.0.1:0", credentials)
        return [server]

    with Background(build) as running:
        yield f"127.0.0.1:{running.servers[0].ports['127.0.0.1:0']}"


def test_calls_a_manager_over_tls_and_passes_over_dead_ones(
    manager: str, authority: Authority, tmp_path: Path
) -> None:
    credentials = write(tmp_path, authority, "somebody")
    channel = connect.manager(["127.0.0.1:9", manager], credentials)
    data = os.urandom(3_000_000)
    assert start(channel, "Unary", data).result().value == data
    assert b"".join(response.value for response in start(channel, "ServerStream", b"abc")) == b"abc"
    channel.close()


def test_a_stranger_s_certificate_is_refused(manager: str, tmp_path: Path) -> None:
    with pytest.raises(errors.PermissionDenied, match="do not trust each other"):
        connect.manager([manager], write(tmp_path, Authority.create(), "stranger"))


def test_a_certificate_that_the_manager_does_not_know(
    manager: str, authority: Authority, tmp_path: Path
) -> None:
    credentials = write(tmp_path, Authority.create(), "stranger")
    Path(credentials.ca).write_bytes(authority.pem)
    with pytest.raises(errors.Unavailable, match="does it accept this client's certificate"):
        start(connect.manager([manager], credentials), "Unary", b"x").result()


def test_managers_want_a_certificate(manager: str, tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match="client certificate"):
        connect.manager([manager], None)
    missing = Credentials(ca="no", certificate="no", key="no")
    with pytest.raises(errors.Invalid, match="No such file"):
        connect.manager([manager], missing)


def test_no_manager_answers(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:9: Connection refused"):
        connect.manager(["127.0.0.1:9"], write(tmp_path, authority, "somebody"))
