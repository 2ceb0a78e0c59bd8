"""Passing a call on, byte for byte: the bytes of its messages are never looked at, whatever kind of call it is.

On the wire all four kinds are the same: messages in, messages out, a status at the end. So every call is taken and made
as a stream of both. At most one message each way is held here; the flow control of the two connections does the rest.

What goes through unchanged: metadata both ways, the deadline, cancellation (the caller's ends the call that was passed
on; an end there ends the caller's), the status with its details, and the trailing metadata.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from services.kit.rpc.errors import STATUS_DETAILS
from services.swarmd.gateway import metadata as metadata_

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.kit import errors
    from services.kit.rpc.types import Context
    from services.swarmd.gateway.metadata import Metadata

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

Unreachable: TypeAlias = "Callable[[str], errors.BeeyardError]"
"""Makes the error for a target that could not be reached, or was lost, from what the transport says."""


async def forward(
    path: str,
    requests: AsyncIterator[bytes],
    context: Context,
    channel: grpc.aio.Channel,
    *,
    metadata: Metadata,
    unreachable: Unreachable,
) -> None:
    """Serve the call of `context` by making the same call on `channel`.

    Args:
        path: "/package.Service/Method".
        requests: The caller's messages.
        context: The caller's call. Nothing was sent on it yet.
        channel: Where the call goes.
        metadata: The metadata with which it goes.
        unreachable: Makes the error if the target cannot be reached.

    Raises:
        errors.BeeyardError: From `unreachable`.
    """
    call: _Call = channel.stream_stream(path)(metadata=metadata, timeout=context.time_remaining())
    try:
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(_send(requests, call))
            outcome = await _receive(call, context)
            sender.cancel()
    finally:
        call.cancel()
    if is_of_transport(outcome.code, outcome.trailing):
        raise unreachable(outcome.details)
    if outcome.code is not grpc.StatusCode.OK:
        await context.abort(outcome.code, outcome.details, outcome.trailing)
    if outcome.trailing:
        context.set_trailing_metadata(outcome.trailing)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """How the call that was passed on ended."""

    code: grpc.StatusCode
    details: str
    trailing: Metadata


def is_of_transport(code: grpc.StatusCode, trailing: Metadata) -> bool:
    """Return whether a status comes of the transport, and not of the target, whose own UNAVAILABLE has a reason."""
    return code is grpc.StatusCode.UNAVAILABLE and all(key != STATUS_DETAILS for key, _ in trailing)


def task_is_cancelled() -> bool:
    """Return whether a CancelledError that was caught means this task, and not a call under it that was ended."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _send(requests: AsyncIterator[bytes], call: _Call) -> None:
    """Pass the caller's messages on. That the target has ended the call meanwhile is for `_receive` to find."""
    try:
        await call.wait_for_connection()
        async for request in requests:
            if not await write(call, request):
                return
        await call.done_writing()
    except grpc.aio.AioRpcError:
        return


async def write(call: grpc.aio.StreamStreamCall[bytes, bytes], message: bytes) -> bool:
    """Write a message to a call that is connected; return whether that was possible: not after the call's end.

    In place of `call.write`, which takes a write that fails because the target has ended the call for the end of the
    call, and sets the status INTERNAL: the target's own status, which says why, would be lost. There is no public way
    around that.
    """
    cython_call: Any = call._cython_call  # type: ignore[attr-defined]  # noqa: SLF001
    if call.done():
        return False
    try:
        await cython_call.send_serialized_message(message)
    except cygrpc.InternalError:
        return False
    return True


async def _outcome(call: _Call) -> _Outcome:
    """Return the status of a call that has ended."""
    return _Outcome(
        code=await call.code(),
        details=await call.details(),
        trailing=metadata_.pass_back(metadata_.pairs(await call.trailing_metadata())),
    )


async def _receive(call: _Call, context: Context) -> _Outcome:
    """Pass the target's messages back, until its status."""
    try:
        initial = metadata_.pass_back(metadata_.pairs(await call.initial_metadata()))
        if initial:
            await context.send_initial_metadata(initial)
        while (response := await call.read()) is not grpc.aio.EOF:
            await context.write(response)
        return await _outcome(call)
    except grpc.aio.AioRpcError:
        return await _outcome(call)
    except asyncio.CancelledError:
        if task_is_cancelled():
            raise
        # The end of its channel has ended the call.
        return _Outcome(code=grpc.StatusCode.UNAVAILABLE, details="the connection was closed", trailing=())
