"""Requests that are no messages: damaged, cut short, of another type, with text that is not UTF-8.

grpc.aio deserializes before it calls a handler, and makes an UNKNOWN of what goes wrong there, with a traceback in the
log. A client that sends such a thing has a fault like any other: here the fault travels as the request, and becomes an
error where errors become statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """Stands for a request that could not be read."""

    why: str


def tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return what deserializes as `deserialize`, and returns what `decoded` refuses instead of raising."""
    if deserialize is None:
        return None

    def attempt(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as exc:
            return _Undecodable(str(exc))

    return attempt


def decoded(request: Any) -> Any:
    """Return a request, or the iterator of them, if it could be read; an iterator raises when it comes to one.

    Raises:
        errors.Invalid: MESSAGE_INVALID.
    """
    if isinstance(request, _Undecodable):
        raise errors.Invalid(
            f"the request is not a valid message ({request.why}): was it made from the same .proto files?",
            reason="MESSAGE_INVALID",
        )
    return _Requests(request) if hasattr(request, "__aiter__") else request


class _Requests:
    """The requests of one call. Not a generator: one that is left behind half-read would have to be closed.

    Nor is grpc.aio's asked for its own before somebody reads: it is missed when nobody does.
    """

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return decoded(await anext(self._requests))
