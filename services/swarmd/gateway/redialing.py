"""A channel for those who keep one: each call goes over whatever channel is the right one then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class RedialingChannel(grpc.aio.Channel):
    """Takes a channel anew for every call, so that the next one shows a renewed certificate. Closing does nothing.

    Args:
        dial: Returns the present channel, which is shared.
    """

    def __init__(self, dial: Callable[[], grpc.aio.Channel]) -> None:
        self._dial = dial

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None

    async def close(self, grace: float | None = None) -> None:
        """Leave the channel to those who share it."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the present channel."""
        return self._dial().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait on the present channel."""
        await self._dial().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the present channel is connected."""
        await self._dial().channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes a call."""
        return self._each(lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes a call."""
        return self._each(lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes a call."""
        return self._each(lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes a call."""
        return self._each(lambda channel: channel.stream_stream(*args, **kwargs))

    def _each(self, method: Callable[[grpc.aio.Channel], Any]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return method(self._dial())(*args, **kwargs)

        return call
