"""Calls over a real unix socket: errors, request ids, limits, cancellation."""

import asyncio
import contextlib
import errno
import gc
import logging
import re
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import error_details_pb2, status_pb2

from services.kit import errors, log
from services.kit.rpc import client
from services.kit.rpc import errors as rpc_errors
from services.kit.rpc.calls import Calls, Method
from services.kit.rpc.types import MESSAGE_BYTES_MAX, REQUEST_ID, Context
from tests.component.kit.echo import SERVICE, Served

CLASSES = [kind for kind in errors.BeeyardError.__subclasses__() if kind.__module__ == errors.__name__]


async def requests(*values: bytes):
    for value in values:
        yield BytesValue(value=value)


async def test_the_four_kinds_of_methods(served: Served) -> None:
    stub = served.stub
    assert (await client.call(stub.Unary(BytesValue(value=b"a")))).value == b"a"
    assert [r.value async for r in client.stream(stub.ServerStream(BytesValue(value=b"ab")))] == [b"a", b"b"]
    assert (await client.call(stub.ClientStream(requests(b"a", b"b")))).value == b"ab"
    assert [r.value async for r in client.stream(stub.BidiStream(requests(b"a", b"b")))] == [b"a", b"b"]


async def test_a_handler_may_write_through_the_context(served: Served) -> None:
    responses = client.stream(served.stub.WritesItself(BytesValue(value=b"ab")))
    assert [response.value async for response in responses] == [b"a", b"b"]


async def raised_by(served: Served, exc: BaseException) -> errors.BeeyardError:
    async def fail(_data: bytes, _context: Context) -> bytes:
        raise exc

    served.echo.on_unary = fail
    with pytest.raises(errors.BeeyardError) as caught:
        await client.call(served.stub.Unary(BytesValue()))
    return caught.value


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
async def test_an_error_arrives_as_it_was_raised(served: Served, kind: type[errors.BeeyardError]) -> None:
    error = await raised_by(served, kind("größer als 5 %", reason="SOME_REASON", metadata={"image": "wéb"}))
    assert type(error) is kind
    assert (error.message, error.reason) == ("größer als 5 %", "SOME_REASON")
    assert error.metadata == {"image": "wéb"}


async def test_the_subclass_of_a_class_arrives_as_the_class(served: Served) -> None:
    class Sold(errors.Exhausted):
        default_reason = "SOLD"

    error = await raised_by(served, Sold("no more"))
    assert (type(error), error.reason) == (errors.Exhausted, "SOLD")


async def test_clients_in_any_language_find_the_error_info(served: Served) -> None:
    async def fail(_data: bytes, _context: Context) -> bytes:
        raise errors.NotFound("no such image", reason="IMAGE_NOT_FOUND", metadata={"image": "web"})

    served.echo.on_unary = fail
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.Unary(BytesValue())
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "IMAGE_NOT_FOUND",
        "beeyard.dev",
        {"image": "web"},
    )


async def test_a_fault_is_told_without_details_and_logged_with_them(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    error = await raised_by(served, ValueError("secret detail"))
    assert type(error) is errors.Internal
    assert "secret" not in error.message
    (record,) = [record for record in caplog.records if record.getMessage() == "rpc_failed"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret detail"
    assert record.fields["request_id"] == error.metadata["request_id"]  # type: ignore[attr-defined]
    assert error.metadata["request_id"] in error.message


async def test_refusals_are_logged_once_and_not_as_errors(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await raised_by(served, errors.NotFound("no such image"))
    assert [(r.getMessage(), r.levelno) for r in caplog.records if "rpc_re" in r.getMessage()] == [
        ("rpc_refused", logging.INFO)
    ]


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "ClientStream", "BidiStream", "WritesItself"])
async def test_what_is_no_message_is_the_callers_fault(
    served: Served, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    from_client, from_server = (
        method in ("ClientStream", "BidiStream"),
        method not in ("Unary", "ClientStream"),
    )
    calls = {
        (False, False): served.channel.unary_unary,
        (False, True): served.channel.unary_stream,
        (True, False): served.channel.stream_unary,
        (True, True): served.channel.stream_stream,
    }
    call = calls[from_client, from_server](f"/{SERVICE}/{method}")
    good, bad = BytesValue(value=b"a").SerializeToString(), b"\x0a\x05a"
    answered = call(iter([good, bad])) if from_client else call(bad)
    with pytest.raises(errors.Invalid) as caught:
        if from_server:
            assert [answer async for answer in client.stream(answered)] == ["never"]
        await client.call(answered)
    assert caught.value.reason == "MESSAGE_INVALID"
    assert "BytesValue" in caught.value.message
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_full_disk_is_an_operating_error(served: Served) -> None:
    error = await raised_by(served, OSError(errno.ENOSPC, "No space left on device", "/var/x"))
    assert (type(error), error.reason) == (errors.Exhausted, "DISK_FULL")
    assert "/var/x" in error.message


@pytest.mark.parametrize("char", ["x", "%", "é", "🐝", "\n"])
async def test_long_messages_and_metadata_are_cut_so_that_they_arrive(served: Served, char: str) -> None:
    error = await raised_by(
        served, errors.Invalid(char * 20_000, reason="LONG", metadata={"a": "1", "long": "y" * 20_000})
    )
    assert (type(error), error.reason, error.metadata) == (errors.Invalid, "LONG", {"a": "1"})
    assert error.message.endswith("…")


async def test_an_error_in_the_middle_of_a_stream(served: Served) -> None:
    async def failing():
        yield BytesValue(value=b"a")
        raise RuntimeError("the client's own")

    with pytest.raises((errors.BeeyardError, RuntimeError)):
        async for _ in client.stream(served.stub.BidiStream(failing())):
            pass


async def test_an_error_of_a_daemon_below_is_passed_on(served: Served) -> None:
    async def ask_below(_data: bytes, _context: Context) -> bytes:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.NOT_FOUND,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(("grpc-status-details-bin", details.SerializeToString())),
            "no such image",
        )

    details = rpc_errors.to_status(errors.NotFound("no such image", reason="IMAGE_NOT_FOUND"))
    served.echo.on_unary = ask_below
    with pytest.raises(errors.NotFound) as caught:
        await client.call(served.stub.Unary(BytesValue()))
    assert caught.value.reason == "IMAGE_NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.Unavailable, "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.CANCELLED, errors.Unavailable, "CANCELLED"),
        (grpc.StatusCode.UNAUTHENTICATED, errors.PermissionDenied, "UNAUTHENTICATED"),
        (grpc.StatusCode.OUT_OF_RANGE, errors.Invalid, "OUT_OF_RANGE"),
        (grpc.StatusCode.UNKNOWN, errors.Internal, "UNKNOWN"),
        (grpc.StatusCode.DATA_LOSS, errors.Internal, "DATA_LOSS"),
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("details", [b"", b"\xff garbage"])
def test_what_is_not_from_us_has_a_class_too(
    code: grpc.StatusCode, kind: type[errors.BeeyardError], reason: str, details: bytes
) -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", details))
    error = rpc_errors.from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, "why"))
    assert (type(error), error.reason, error.message) == (kind, reason, "why")


def test_every_code_but_ok_has_a_class() -> None:
    for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
        rpc_errors.from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata()))


async def test_a_handler_may_abort_by_itself(served: Served) -> None:
    async def abort(_data: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "beyond the end")

    served.echo.on_unary = abort
    with pytest.raises(errors.Invalid, match="beyond the end"):
        await client.call(served.stub.Unary(BytesValue()))


async def test_a_method_that_is_missing(served: Served) -> None:
    with pytest.raises(errors.Unsupported):
        await client.call(served.stub.Missing(BytesValue()))


async def test_a_daemon_that_is_not_there(socket_dir) -> None:
    async with client.channel_unix(socket_dir / "missing.sock") as channel:
        with pytest.raises(errors.Unavailable) as caught:
            await client.call(channel.unary_unary("/x/Y")(b"", timeout=5))
    assert caught.value.retryable


async def request_ids(served: Served) -> list[str]:
    seen: list[str] = []

    async def record(_data: bytes, _context: Context) -> bytes:
        seen.append(str(log.bound("request_id")))
        return b""

    served.echo.on_unary = record
    return seen


async def test_a_call_without_an_id_gets_one(served: Served) -> None:
    seen = await request_ids(served)
    for _ in range(2):
        await client.call(served.stub.Unary(BytesValue()))
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in seen)
    assert seen[0] != seen[1]


async def test_the_callers_id_is_passed_on(served: Served) -> None:
    seen = await request_ids(served)
    with log.context(request_id="from-the-context"):
        await client.call(served.stub.Unary(BytesValue()))
        await client.call(served.stub.Unary(BytesValue(), metadata=((REQUEST_ID, "given"), ("other", "x"))))
        await client.call(served.stub.Unary(BytesValue(), metadata=grpc.aio.Metadata(("other", "x"))))
    assert seen == ["from-the-context", "given", "from-the-context"]


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "", "a=b"])
async def test_what_is_no_id_is_replaced(served: Served, hostile: str) -> None:
    seen = await request_ids(served)
    await client.call(served.stub.Unary(BytesValue(), metadata=((REQUEST_ID, hostile),)))
    assert seen != [hostile]


async def test_calls_do_not_see_each_others_context(served: Served) -> None:
    both = asyncio.Barrier(2)

    async def record(data: bytes, _context: Context) -> bytes:
        await both.wait()
        return f"{data.decode()} {log.bound('request_id')}".encode()

    served.echo.on_unary = record
    calls = (
        client.call(served.stub.Unary(BytesValue(value=n), metadata=((REQUEST_ID, n.decode()),)))
        for n in (b"1", b"2")
    )
    assert [response.value for response in await asyncio.gather(*calls)] == [b"1 1", b"2 2"]


async def test_the_largest_message_and_one_more_byte(served: Served) -> None:
    overhead = 5  # of the field's tag and length
    most = b"x" * (MESSAGE_BYTES_MAX - overhead)
    assert (await client.call(served.stub.Unary(BytesValue(value=most)))).value == most
    with pytest.raises(errors.Exhausted):
        await client.call(served.stub.Unary(BytesValue(value=most + b"x")))
    assert (await client.call(served.stub.Unary(BytesValue(value=b"still here")))).value == b"still here"


async def test_a_response_that_is_too_large_is_an_error_of_its_call_only(served: Served) -> None:
    async def inflate(_data: bytes, _context: Context) -> bytes:
        return b"x" * (MESSAGE_BYTES_MAX + 1)

    served.echo.on_unary = inflate
    with pytest.raises((errors.Exhausted, errors.Internal)):
        await client.call(served.stub.Unary(BytesValue()))


async def eventually(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_client_that_cancels_ends_the_handler(served: Served) -> None:
    call = served.stub.ServerStream(BytesValue(value=b"a!"))
    await call.read()
    await served.echo.started.wait()
    assert served.server.in_flight == 1
    call.cancel()
    await eventually(lambda: served.server.in_flight == 0)
    assert served.echo.ended == ["cancelled", "ended"]


async def test_a_reader_that_leaves_ends_the_call(served: Served) -> None:
    async with contextlib.aclosing(
        client.stream(served.stub.ServerStream(BytesValue(value=b"a!")))
    ) as responses:
        async for _ in responses:
            break
    await eventually(lambda: served.server.in_flight == 0)
    assert served.echo.ended == ["cancelled", "ended"]


async def test_a_reader_that_leaves_under_a_write_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    class Leaving:
        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def write(self, _response: bytes) -> None:
            raise grpc.aio.InternalError("Failed execute_batch")

    async def answer(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
        yield b""

    calls = Calls()
    handler = calls.wrap(grpc.unary_stream_rpc_method_handler(answer), Method(path="/Test/Answer"))
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_stream(b"", Leaving())
    assert calls.in_flight == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_cancelling_a_caller_ends_the_call(served: Served) -> None:
    async def wait(_data: bytes, _context: Context) -> bytes:
        served.echo.started.set()
        await asyncio.sleep(3600)
        return b""

    served.echo.on_unary = wait
    calling = asyncio.ensure_future(client.call(served.stub.Unary(BytesValue())))
    await served.echo.started.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await eventually(lambda: served.server.in_flight == 0)


async def test_a_deadline_ends_the_call_on_both_sides(served: Served) -> None:
    async def wait(_data: bytes, _context: Context) -> bytes:
        await asyncio.sleep(3600)
        return b""

    served.echo.on_unary = wait
    with pytest.raises(errors.Unavailable) as caught:
        await client.call(served.stub.Unary(BytesValue(), timeout=0.05))
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    await eventually(lambda: served.server.in_flight == 0)


async def test_closing_the_channel_is_no_cancellation_of_the_caller(served: Served) -> None:
    async def wait(_data: bytes, _context: Context) -> bytes:
        served.echo.started.set()
        await asyncio.sleep(3600)
        return b""

    served.echo.on_unary = wait
    calling = asyncio.ensure_future(client.call(served.stub.Unary(BytesValue())))
    await served.echo.started.wait()
    await served.channel.close()
    with pytest.raises(errors.Unavailable) as caught:
        await calling
    assert caught.value.reason == "CANCELLED"


async def test_many_calls_with_bounded_concurrency(served: Served) -> None:
    gate = asyncio.Semaphore(64)

    async def one(number: int) -> bool:
        async with gate:
            data = str(number).encode()
            return bool((await client.call(served.stub.Unary(BytesValue(value=data)))).value == data)

    assert all(await asyncio.gather(*(one(number) for number in range(400))))
    gc.collect()
