"""The garbage collector: finds what nothing keeps (`store.gc` decides) and removes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged import faults
from services.imaged.store import gc, leases
from services.imaged.store import images as image_rows
from services.kit import errors, log

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from services.imaged.images.documents import Documents
    from services.imaged.model.digest import Digest
    from services.imaged.snapshots.local import LocalSnapshots
    from services.imaged.snapshots.ports import Snapshot
    from services.imaged.store.blobs import BlobStore
    from services.imaged.store.images import ImageRecord, NameRecord
    from services.imaged.store.leases import Leases
    from services.kit.seams import Clock
    from services.kit.sqlite import Database

_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one run removed."""

    snapshots: Sequence[str]
    blob_count: int
    freed_bytes: int
    """Of blobs, and of unpacked layers by their file data."""


class Collector:
    """Runs one collection at a time."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        documents: Documents,
        snapshots: LocalSnapshots,
        leases: Leases,
        clock: Clock,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._documents = documents
        self._snapshots = snapshots
        self._leases = leases
        self._clock = clock

    async def collect(self) -> Collected:
        """Remove all garbage.

        If a manifest that should be there cannot be read, nothing at all is removed: what it keeps is not known.
        """
        async with self._leases.collecting:
            garbage, sizes = await self._find()
            faults.point("gc.before_sweep")
            freed_bytes = 0
            for key in garbage.snapshots:
                try:
                    freed_bytes += sizes.get(key, 0) if await self._snapshots.remove(key) else 0
                except errors.FailedPrecondition:
                    continue  # a container was prepared on it since we looked
            freed_bytes += await asyncio.to_thread(self._sweep, garbage.blobs)
        if garbage.snapshots or garbage.blobs:
            _log.info(
                "garbage_collected",
                snapshots=len(garbage.snapshots),
                blobs=len(garbage.blobs),
                freed_bytes=freed_bytes,
            )
        return Collected(snapshots=garbage.snapshots, blob_count=len(garbage.blobs), freed_bytes=freed_bytes)

    async def collect_after_failure(self) -> None:
        """Remove what failed work has left; a failure to do so is logged, and left to the next run."""
        try:
            await self.collect()
        except (errors.BeeyardError, OSError) as error:
            _log.warning("garbage_not_collected", error=str(error))

    async def _find(self) -> tuple[gc.Garbage, dict[str, int]]:
        now_s = self._clock.now().timestamp()

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[list[ImageRecord], list[NameRecord], set[str], list[Snapshot], dict[str, int]]:
            table = self._snapshots.table
            return (
                image_rows.all_images(connection),
                image_rows.all_names(connection),
                leases.items(connection, now_s),
                [record.snapshot for record in table.all(connection)],
                table.layer_sizes(connection),
            )

        images, names, leased, snapshots, sizes = await self._database.read(read)

        def mark() -> gc.Garbage:
            documents = {
                record.manifest.digest: (
                    self._documents.manifest(record.manifest),
                    self._documents.config(record.image_id),
                )
                for record in images
            }
            roots = gc.Roots(images=documents, targets={name.target.digest for name in names}, leased=leased)
            return gc.find(roots, self._blobs.all(), snapshots)

        return await asyncio.to_thread(mark), sizes

    def _sweep(self, blobs: Sequence[Digest]) -> int:
        freed_bytes = 0
        for blob in blobs:
            freed_bytes += self._blobs.remove(blob)
            faults.point("gc.half_swept")
        return freed_bytes
