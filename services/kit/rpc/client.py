"""Channels to daemons, and calls that raise our errors.

    container = await client.call(stub.GetContainer(request, timeout=5))
    async for event in client.stream(stub.WatchEvents(request)): ...

A channel passes the request id of the caller's log context on, so that one id runs through every daemon's log.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import grpc
import grpc.aio

from services.kit import errors, log
from services.kit.rpc.errors import from_rpc_error
from services.kit.rpc.types import MESSAGE_BYTES_MAX, REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")
Pairs: TypeAlias = tuple[tuple[str, str], ...]

_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),  # a daemon that restarts is back within a second
    ("grpc.min_reconnect_backoff_ms", 2_000),  # the time that one attempt has, TLS handshake included
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel's failed connection is not another channel's
)
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),  # a peer that vanished without a word is noticed in 15 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


def channel_unix(path: Path | str, metadata: Pairs = ()) -> grpc.aio.Channel:
    """Return a channel to the daemon at a unix socket. It connects when first used, and again whenever needed.

    Args:
        path: The socket.
        metadata: Sent with every call on the channel.
    """
    return _Channel(grpc.aio.insecure_channel(f"unix:{os.fspath(path)}", options=_OPTIONS), metadata)


def channel_tls(
    address: str, credentials: grpc.ChannelCredentials, server_name: str = "", metadata: Pairs = ()
) -> grpc.aio.Channel:
    """Return a channel to "host:port" over TLS.

    Args:
        address: Where to connect to.
        credentials: Whom to trust and who we are.
        server_name: The name that the server's certificate must carry, if it is not the host's.
        metadata: Sent with every call on the channel.
    """
    name_override = (("grpc.ssl_target_name_override", server_name),) if server_name else ()
    options = (*_OPTIONS, *_KEEPALIVE, *name_override)
    return _Channel(grpc.aio.secure_channel(address, credentials, options=options), metadata)


async def call(awaitable: Awaitable[T]) -> T:
    """Return the response of a call that was begun with a stub.

    Raises:
        errors.BeeyardError: What the handler raised, or that it could not be reached.
    """
    try:
        return await awaitable
    except grpc.aio.AioRpcError as exc:
        raise from_rpc_error(exc) from exc
    except asyncio.CancelledError:
        _raise_if_only_the_call_was_cancelled()
        raise


async def stream(responses: AsyncIterable[T]) -> AsyncGenerator[T, None]:
    """Yield the responses of a streaming call, and cancel the call if the reader leaves before its end.

    A reader that may leave early wraps this in `contextlib.aclosing`, so that the call ends then and not later.

    Raises:
        errors.BeeyardError: As in `call`.
    """
    try:
        async for response in responses:
            yield response
    except grpc.aio.AioRpcError as exc:
        raise from_rpc_error(exc) from exc
    except asyncio.CancelledError:
        _raise_if_only_the_call_was_cancelled()
        raise
    finally:
        if isinstance(responses, grpc.aio.Call):
            responses.cancel()


def _raise_if_only_the_call_was_cancelled() -> None:
    """Tell a call that was cancelled under us, by the closing of its channel, from a cancellation of our task.

    grpc.aio raises CancelledError for both; the first must not look like an order to stop.
    """
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise errors.Unavailable("the call was cancelled: its connection was closed", reason="CANCELLED")


class _Channel(grpc.aio.Channel):
    """A channel whose calls carry the request id of the context that makes them, and metadata of the channel's own.

    Does what a client interceptor would do, without the tasks that grpc.aio starts for each intercepted call.
    """

    def __init__(self, inner: grpc.aio.Channel, metadata: Pairs) -> None:
        self._inner = inner
        self._metadata = metadata

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, exc, trace)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _with_metadata(self._inner.unary_unary(*args, **kwargs), self._metadata)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _with_metadata(self._inner.unary_stream(*args, **kwargs), self._metadata)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _with_metadata(self._inner.stream_unary(*args, **kwargs), self._metadata)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _with_metadata(self._inner.stream_stream(*args, **kwargs), self._metadata)


def _with_metadata(start: Callable[..., Any], own: Pairs) -> Callable[..., Any]:
    def start_with_metadata(*args: Any, metadata: Any = None, **kwargs: Any) -> Any:
        pairs = (*own, *(metadata or ()))
        request_id = log.bound("request_id")
        if isinstance(request_id, str) and all(key != REQUEST_ID for key, _ in pairs):
            pairs = (*pairs, (REQUEST_ID, request_id))
        return start(*args, metadata=pairs or None, **kwargs)

    return start_with_metadata
