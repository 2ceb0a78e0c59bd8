"""Calls to another daemon of this node: patient while it restarts, clear when it is gone.

`call` is for idempotent calls: one may be sent again although the first was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from services.kit import backoff, errors
from services.kit.rpc import client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import grpc.aio

    from services.kit.seams import Clock, Rng

T = TypeVar("T")

PATIENCE_S = 3.0
"""A daemon that was restarted answers again within a second or two."""
_RETRY_BASE_S = 0.05
_RETRY_MAX_S = 0.5


class Neighbour:
    """The connection to one daemon."""

    def __init__(self, name: str, socket: Path, *, clock: Clock, rng: Rng) -> None:
        self.name = name
        self._socket = socket
        self._clock = clock
        self._rng = rng
        self.channel: grpc.aio.Channel = client.channel_unix(socket)

    async def close(self) -> None:
        """Close the connection."""
        await self.channel.close()

    async def call(self, begin: Callable[[], Awaitable[T]]) -> T:
        """Return the response of a call that `begin` begins, again and again while the daemon is not there.

        Raises:
            errors.Unavailable: It did not answer for `PATIENCE_S` (NEIGHBOUR_UNAVAILABLE).
            errors.BeeyardError: What it answered.
        """
        give_up_at = self._clock.monotonic() + PATIENCE_S
        attempt = 0
        while True:
            try:
                return await client.call(begin())
            except errors.Unavailable as exc:
                if self._clock.monotonic() >= give_up_at:
                    raise self._away(exc) from exc
            await self._clock.sleep(
                backoff.delay(attempt, base_s=_RETRY_BASE_S, max_s=_RETRY_MAX_S, rng=self._rng)
            )
            attempt += 1

    async def once(self, begin: Callable[[], Awaitable[T]]) -> T:
        """Return the response of a call that must not be sent twice.

        Raises:
            errors.BeeyardError: As in `call`.
        """
        try:
            return await client.call(begin())
        except errors.Unavailable as exc:
            raise self._away(exc) from exc

    def _away(self, cause: errors.Unavailable) -> errors.Unavailable:
        return errors.Unavailable(
            f"{self.name} does not answer at {self._socket}: is it running? ({cause.message})",
            reason="NEIGHBOUR_UNAVAILABLE",
            metadata={"neighbour": self.name},
        )
