"""Leases: what somebody works with is not rubbish, though no image refers to it yet.

Whoever wants to rely on a blob or a layer first adds it to a lease and then looks whether it is there. The garbage
collector holds the same lock while it collects, so it sees either the lease or no user.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Iterable

    from services.imaged.model.digest import Digest
    from services.kit.seams import Clock, NewId
    from services.kit.sqlite import Database

LEASE_S = 3600.0
ITEMS_MAX = 10_000


class Leases:
    """Makes and ends leases."""

    def __init__(self, database: Database, clock: Clock, new_id: NewId) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self.collecting = asyncio.Lock()
        """Held by the garbage collector from its first look to its last removal."""

    @contextlib.asynccontextmanager
    async def hold(self, *, is_resumable: bool = False) -> AsyncIterator[Lease]:
        """Yield a lease for the block. A resumable one outlives a failure by its term, so that the next attempt finds
        what this one has fetched; it ends with a success, when an image holds everything.
        """
        lease = await self.create(is_resumable=is_resumable)
        try:
            yield lease
        except BaseException:
            if not is_resumable:
                await asyncio.shield(lease.end())
            raise
        await lease.end()

    async def create(self, *, is_resumable: bool) -> Lease:
        """Return a new lease that ends by itself after `LEASE_S`."""
        lease_id = self._new_id()
        expires_at = self._clock.now().timestamp() + LEASE_S
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO leases VALUES (?, ?, ?)", (lease_id, expires_at, is_resumable)
            )
        )
        return Lease(lease_id, self)

    async def add(self, lease_id: str, items: Iterable[Digest]) -> None:
        """Put blobs and layers (by chain id) under a lease, and prolong it.

        Raises:
            errors.NotFound: With reason LEASE_NOT_FOUND.
        """
        rows = [(lease_id, str(item)) for item in items]
        expires_at = self._clock.now().timestamp() + LEASE_S

        def insert(connection: sqlite3.Connection) -> None:
            updated = connection.execute(
                "UPDATE leases SET expires_at = ? WHERE id = ?", (expires_at, lease_id)
            )
            if updated.rowcount == 0:
                raise errors.NotFound(f"there is no lease {lease_id[:64]!r}", reason="LEASE_NOT_FOUND")
            connection.executemany("INSERT OR IGNORE INTO lease_items VALUES (?, ?)", rows)

        assert len(rows) <= ITEMS_MAX, f"{len(rows)} items at once"
        async with self.collecting:
            await self._database.write(insert)

    async def end(self, lease_id: str) -> None:
        """End a lease; what nothing else holds is collected some time later."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM leases WHERE id = ?", (lease_id,))
        )

    async def recover(self) -> None:
        """End the leases of work that cannot go on in this process, and those whose term is over."""
        now = self._clock.now().timestamp()
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM leases WHERE is_resumable = 0 OR expires_at < ?", (now,)
            )
        )


class Lease:
    """One lease."""

    def __init__(self, lease_id: str, leases: Leases) -> None:
        self.id = lease_id
        self._leases = leases

    async def add(self, items: Iterable[Digest]) -> None:
        """Hold blobs and layers from now on."""
        await self._leases.add(self.id, items)

    async def end(self) -> None:
        """Hold nothing any more."""
        await self._leases.end(self.id)


def items(connection: sqlite3.Connection, now_s: float) -> set[str]:
    """Return all that is held at an instant."""
    rows = connection.execute(
        "SELECT item FROM lease_items JOIN leases ON id = lease_id WHERE expires_at >= ?", (now_s,)
    )
    return {row["item"] for row in rows}
