"""Streams of requests whose first message says what follows: `spec`, then `chunk`s."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from beeyard.image.v1 import content_pb2, image_pb2
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


P = TypeVar("P", content_pb2.WriteRequest, image_pb2.ImportRequest, image_pb2.LoadRequest)


async def first(requests: AsyncIterator[P]) -> P:
    """Return the first request, which must carry the spec.

    Raises:
        errors.Invalid: With reason STREAM_INVALID.
    """
    request = await anext(requests, None)
    if request is None or request.WhichOneof("part") != "spec":
        raise errors.Invalid("the first message of the stream must carry `spec`", reason="STREAM_INVALID")
    return request


async def chunks(requests: AsyncIterator[P]) -> AsyncIterator[bytes]:
    """Yield the chunks of the requests that follow.

    When a client goes away, gRPC ends its stream like any other, and cancels the handler right after: so nothing that
    lasts may be done in the same step as the end of the stream.

    Raises:
        errors.Invalid: With reason STREAM_INVALID.
    """
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise errors.Invalid("all messages but the first must carry `chunk`", reason="STREAM_INVALID")
        if request.chunk:
            yield request.chunk
