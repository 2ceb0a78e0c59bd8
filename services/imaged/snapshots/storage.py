"""A driver's directories at work: made whole or not at all, unpacked into, compared and measured.

Knows neither keys nor rows: who calls says which directory stands on which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.imaged import disk, faults, streams
from services.imaged.layers import jobs
from services.imaged.layers.changes import ChangeKind
from services.imaged.model import digest as digests
from services.imaged.snapshots import durability
from services.imaged.snapshots.ports import PathChange
from services.kit import errors
from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from services.imaged.layers.workers import WorkerPool
    from services.imaged.snapshots.ports import Driver, LayerSpec
    from services.imaged.snapshots.trash import Trash
    from services.kit.tar.ids import IdMap

CHANGES_BATCH_MAX = 1000


class Storage:
    """Works on directories of one driver, with the worker processes for what takes long."""

    def __init__(self, driver: Driver, workers: WorkerPool, trash: Trash) -> None:
        self._driver = driver
        self._workers = workers
        self._trash = trash

    async def create(self, directory: str, parents: Sequence[str]) -> None:
        """Make a writable directory above its parents; if that fails, nothing is left.

        Raises:
            errors.Exhausted: With reason DISK_FULL.
        """
        try:
            await self._driver.create(directory, parents)
        except OSError as error:
            await self._trash.discard_now(directory)
            if disk.is_full(error):
                raise disk.full() from error
            raise errors.Internal(f"cannot make a snapshot: {error}", reason="SNAPSHOT_IO") from error
        except BaseException:
            await self._trash.discard_now(directory)
            raise

    async def unpack(
        self,
        layer: LayerSpec,
        blob: int,
        directory: str,
        parents: Sequence[str],
        on_progress: Callable[[int], None] | None,
    ) -> jobs.ApplyResult:
        """Make a directory of a layer; what a failure leaves of it is the caller's to discard.

        Raises:
            errors.Invalid: The layer is malformed, hostile, or not what the image says.
            errors.Exhausted: With reason DISK_FULL.
        """
        await self.create(directory, parents)
        faults.point("snapshot.directory_made")
        job = jobs.ApplyJob(
            lower_dirs=self._driver.lower_dirs(parents),
            with_diff_id=layer.diff_id is not None,
            limits=layer.limits,
        )
        target = os.open(self._driver.target(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._trash.unpacking():
                result = await self._workers.apply(job, blob, target, on_progress)
        finally:
            os.close(target)
        if layer.diff_id is None and result.is_compressed:
            raise errors.Invalid("a layer is compressed, but said not to be", reason="DIGEST_MISMATCH")
        if layer.diff_id is not None and digests.Digest(result.diff_id_hex) != layer.diff_id:
            raise errors.Invalid(
                f"a layer unpacks to content {result.diff_id_hex[:12]}, but the image says {layer.diff_id.short}:"
                " the image is damaged or forged",
                reason="DIGEST_MISMATCH",
            )
        return result

    async def changes(
        self, directory: str, parents: Sequence[str], mount_points: Sequence[str], ids: IdMap
    ) -> AsyncGenerator[Sequence[PathChange], None]:
        """Yield what a directory has changed against its parents, in batches."""
        job = jobs.ListChangesJob(comparison=self._comparison(directory, parents, mount_points, ids))
        rest = b""
        async with contextlib.aclosing(
            streams.from_pipe(lambda output: self._workers.list_changes(job, output))
        ) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for start in range(0, len(lines), CHANGES_BATCH_MAX):
                    yield [_change(line) for line in lines[start : start + CHANGES_BATCH_MAX]]

    async def export(
        self, directory: str, parents: Sequence[str], output: int, mount_points: Sequence[str], ids: IdMap
    ) -> jobs.ExportResult:
        """Write the changes of a directory as a layer's tar."""
        job = jobs.ExportJob(comparison=self._comparison(directory, parents, mount_points, ids))
        return await self._workers.export(job, output)

    def _comparison(
        self, directory: str, parents: Sequence[str], mount_points: Sequence[str], ids: IdMap
    ) -> jobs.Comparison:
        comparison = self._driver.comparison(directory, parents)
        # What is mounted as a bind is shown with other ids as a whole: on the disk are the namespace's own. The kernel
        # can do that for the lower layers of an overlay too, but not for its upper directory.
        outside = ids if comparison.lower_dirs else IDENTITY
        return replace(comparison, mount_points=tuple(mount_points), ids=outside)

    async def measure(self, directory: str) -> jobs.MeasureResult:
        """Return the room that a directory takes."""
        return await self._workers.measure(self._driver.target(directory))

    async def sync(self, directory: str) -> bool:
        """Wait until a directory's files are on the disk; False if it has been removed meanwhile."""
        try:
            await asyncio.to_thread(durability.sync, self._driver.target(directory))
        except FileNotFoundError:
            return False
        return True

    def exists(self, directory: str) -> bool:
        """Return whether a directory is there."""
        return Path(self._driver.target(directory)).is_dir()


def _change(line: bytes) -> PathChange:
    kind, _, path = line.decode().partition(" ")
    return PathChange(ChangeKind(kind), path)
