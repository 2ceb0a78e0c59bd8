"""`Snapshots` on this node: rows in the database, directories by a driver, heavy work by the worker processes.

The order is always: directory complete, then row; or row gone, then directory discarded. So a crash leaves at most a
directory without a row, which `recover` discards.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from services.imaged import faults
from services.imaged.layers import jobs
from services.imaged.model.manifest import LAYERS_MAX
from services.imaged.snapshots import durability, recovery
from services.imaged.snapshots.ports import Kind, LayerSpec, Mount, PathChange, Snapshot, Usage
from services.imaged.snapshots.records import Record, Table
from services.imaged.snapshots.storage import Storage
from services.imaged.snapshots.trash import Trash
from services.kit import errors, log
from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from services.imaged.layers.workers import WorkerPool
    from services.imaged.model.digest import Digest
    from services.imaged.snapshots.ports import Driver
    from services.kit.seams import Clock, NewId
    from services.kit.sqlite import Database
    from services.kit.tar.ids import IdMap
    from services.kit.tasks import Supervisor

_log = log.get(__name__)

KEY_CHARS_MAX = 256
LABELS_MAX = 100
_COMMITTED_FROM = "beeyard.committed-from"


class LocalSnapshots:
    """See `Snapshots`."""

    def __init__(
        self,
        driver: Driver,
        database: Database,
        workers: WorkerPool,
        supervisor: Supervisor,
        clock: Clock,
        new_id: NewId,
        purge_delay_s: float = 0.0,
    ) -> None:
        self._driver = driver
        self._table = Table(driver.name)
        self._database = database
        self._supervisor = supervisor
        self._clock = clock
        self._new_id = new_id
        self._trash = Trash(driver, supervisor, clock, purge_delay_s)
        self._storage = Storage(driver, workers, self._trash)
        self._boot_id = durability.boot_id()

    @property
    def table(self) -> Table:
        """The rows, for transactions that concern images and snapshots together."""
        return self._table

    async def recover(self) -> None:
        """Make rows and directories agree after whatever happened. To be called before anything else."""
        records = await self._database.read(self._table.all)
        plan = recovery.plan(records, self._driver.directories(), self._boot_id)

        def forget(connection: sqlite3.Connection) -> None:
            for key in plan.forget:
                self._table.delete(connection, key)

        if plan.forget:
            await self._database.write(forget)
        for directory in plan.discard:
            self._trash.discard(directory)
        if plan.forget or plan.discard or plan.lost:
            _log.warning(
                "snapshots_recovered", forgotten=len(plan.forget), discarded=len(plan.discard), lost=plan.lost
            )
        self._trash.purge_later()

    async def prepare(
        self,
        key: str,
        parent: str,
        *,
        read_only: bool = False,
        manifest_digest: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Mount, ...]:
        """Make an active snapshot, or a view, above a committed one."""
        _check_key(key)
        if len(labels or {}) > LABELS_MAX:
            raise errors.Invalid(f"a snapshot has at most {LABELS_MAX} labels", reason="LABELS_INVALID")
        kind = Kind.VIEW if read_only else Kind.ACTIVE
        if read_only and not parent:
            raise errors.Invalid("a read-only snapshot needs something to show", reason="PARENT_MISSING")
        present = await self._database.read(lambda connection: self._table.get(connection, key))
        if present is not None:
            return await self._present(present, kind, parent)
        parents = await self._ancestry(parent) if parent else []
        snapshot = Snapshot(
            key=key,
            kind=kind,
            parent=parent,
            manifest_digest=manifest_digest,
            labels=dict(labels or {}),
            created_at=self._clock.now(),
        )
        directory = "" if read_only else self._new_name()
        record = Record(snapshot=snapshot, directory=directory)
        directories = [ancestor.directory for ancestor in parents]
        if directory:
            await self._storage.create(directory, directories)
        faults.point("prepare.before_record")
        try:
            await self._database.write(lambda connection: self._insert(connection, record))
        except BaseException as error:
            if directory and isinstance(error, asyncio.CancelledError):
                await self._withdraw(key, directory)
            self._trash.discard(directory)
            raise
        return self._mounts_of(record, directories)

    async def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return how to mount a snapshot."""
        record, *parents = await self._ancestry(key)
        if record.directory and not self._storage.exists(record.directory):
            raise errors.FailedPrecondition(
                f"the files of snapshot {key} are gone from the disk", reason="SNAPSHOT_LOST"
            )
        return self._mounts_of(record, [parent.directory for parent in parents])

    async def commit(self, key: str, committed_key: str) -> None:
        """Turn an active snapshot into a committed one, when its files are on the disk."""
        _check_key(committed_key)
        record = await self._database.read(lambda connection: self._table.get(connection, key))
        if record is None:
            done = await self._database.read(lambda connection: self._table.get(connection, committed_key))
            if done is not None and done.snapshot.labels.get(_COMMITTED_FROM) == key:
                return
            raise not_found(key)
        if record.snapshot.kind is not Kind.ACTIVE:
            raise _not_active(key)
        await self._storage.sync(record.directory)
        measured = await self._storage.measure(record.directory)

        def move(connection: sqlite3.Connection) -> None:
            current = self._table.get(connection, key)
            if current is None or current.snapshot.kind is not Kind.ACTIVE:
                raise _not_active(key)
            labels = {**current.snapshot.labels, _COMMITTED_FROM: key}
            committed = replace(
                current,
                snapshot=replace(
                    current.snapshot,
                    key=committed_key,
                    kind=Kind.COMMITTED,
                    manifest_digest=None,
                    labels=labels,
                ),
                size_bytes=measured.size_bytes,
                inode_count=measured.inode_count,
            )
            self._table.delete(connection, key)
            self._insert(connection, committed)

        await self._database.write(move)

    async def unpack(
        self, layer: LayerSpec, blob: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Make a committed snapshot of a layer's blob."""
        parents = await self._ancestry(layer.parent) if layer.parent else []
        if len(parents) >= LAYERS_MAX:
            raise errors.Unsupported(
                f"an image with more than {LAYERS_MAX} layers cannot be mounted", reason="LAYERS_TOO_MANY"
            )
        directory = self._new_name()
        try:
            result = await self._storage.unpack(
                layer, blob, directory, [parent.directory for parent in parents], on_progress
            )
            faults.point("unpack.before_record")
            record = Record(
                snapshot=Snapshot(
                    key=layer.key,
                    kind=Kind.COMMITTED,
                    parent=layer.parent,
                    labels={},
                    created_at=self._clock.now(),
                ),
                directory=directory,
                size_bytes=result.size_bytes,
                inode_count=result.entry_count,
                boot_id=self._boot_id,
            )
            await self._database.write(lambda connection: self._insert(connection, record))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                await self._withdraw(layer.key, directory)
            await self._trash.discard_now(directory)
            raise
        faults.point("unpack.after_record")
        with contextlib.suppress(errors.Unavailable):  # stopping: the next boot then unpacks it again
            self._supervisor.spawn(
                self._make_durable(layer.key, directory), "make layer durable", critical=False
            )

    async def remove(self, key: str) -> bool:
        """Remove a snapshot without children."""

        def delete(connection: sqlite3.Connection) -> str | None:
            record = self._table.get(connection, key)
            if record is None:
                return None
            if self._table.has_children(connection, key):
                raise errors.FailedPrecondition(
                    f"snapshot {key} has others standing on it: remove those first",
                    reason="SNAPSHOT_HAS_CHILDREN",
                )
            self._table.delete(connection, key)
            return record.directory

        directory = await self._database.write(delete)
        if directory is None:
            return False
        faults.point("remove.after_record")
        self._trash.discard(directory)
        return True

    async def get(self, key: str) -> Snapshot:
        """Return one snapshot."""
        return (await self._get(key)).snapshot

    async def page(self, *, after: str = "", limit: int) -> Sequence[Snapshot]:
        """Return snapshots by key."""
        records = await self._database.read(lambda connection: self._table.page(connection, after, limit))
        return [record.snapshot for record in records]

    async def usage(self, key: str) -> Usage:
        """Return what belongs to a snapshot alone; of an active one, as it is now."""
        record = await self._get(key)
        if record.snapshot.kind is not Kind.ACTIVE:
            return Usage(size_bytes=record.size_bytes, inode_count=record.inode_count)
        measured = await self._storage.measure(record.directory)
        return Usage(size_bytes=measured.size_bytes, inode_count=measured.inode_count)

    async def changes(
        self, key: str, mount_points: Sequence[str] = (), ids: IdMap = IDENTITY
    ) -> AsyncGenerator[Sequence[PathChange], None]:
        """Yield changed paths in batches."""
        directory, parents = await self._stacked(key)
        batches_of = self._storage.changes(directory, parents, mount_points, ids)
        async with contextlib.aclosing(batches_of) as batches:
            async for batch in batches:
                yield batch

    async def export(
        self, key: str, output: int, mount_points: Sequence[str] = (), ids: IdMap = IDENTITY
    ) -> jobs.ExportResult:
        """Write the changes of a snapshot as a layer's tar."""
        directory, parents = await self._stacked(key)
        return await self._storage.export(directory, parents, output, mount_points, ids)

    async def purged(self) -> None:
        """Return when what had been discarded before the call is gone from the disk."""
        await self._trash.purge_now()

    async def _present(self, record: Record, kind: Kind, parent: str) -> tuple[Mount, ...]:
        snapshot = record.snapshot
        if snapshot.kind is kind and snapshot.parent == parent:
            return await self.mounts(snapshot.key)
        raise errors.AlreadyExists(
            f"there is another snapshot with the key {snapshot.key}", reason="SNAPSHOT_EXISTS"
        )

    async def _withdraw(self, key: str, directory: str) -> None:
        """Take a row back before its directory goes: who is cancelled in a write does not know whether it was done."""

        def delete(connection: sqlite3.Connection) -> None:
            record = self._table.get(connection, key)
            if record is not None and record.directory == directory:
                self._table.delete(connection, key)

        await self._database.write(delete)  # writes are done in order: after the one that is taken back

    def _insert(self, connection: sqlite3.Connection, record: Record) -> None:
        snapshot = record.snapshot
        if self._table.get(connection, snapshot.key) is not None:
            raise errors.AlreadyExists(
                f"there is a snapshot with the key {snapshot.key}", reason="SNAPSHOT_EXISTS"
            )
        if snapshot.parent:
            self._check_parent(self._table.get(connection, snapshot.parent), snapshot.parent)
        self._table.put(connection, record)

    def _check_parent(self, record: Record | None, key: str) -> None:
        if record is None:
            raise not_found(key)
        if record.snapshot.kind is not Kind.COMMITTED:
            raise errors.FailedPrecondition(
                f"snapshot {key} is still being written: only a committed one can be a parent",
                reason="SNAPSHOT_NOT_COMMITTED",
            )

    async def _get(self, key: str) -> Record:
        record = await self._database.read(lambda connection: self._table.get(connection, key))
        if record is None:
            raise not_found(key)
        return record

    async def _ancestry(self, key: str) -> list[Record]:
        """Return a snapshot and all it stands on.

        Raises:
            errors.NotFound: It, or a layer below it, is not here; metadata `key` names it.
        """
        records = await self._database.read(lambda connection: self._table.ancestry(connection, key))
        missing = records[-1].snapshot.parent if records else key
        if missing:
            raise not_found(missing)
        return records

    async def _stacked(self, key: str) -> tuple[str, list[str]]:
        record, *parents = await self._ancestry(key)
        if not record.directory:
            raise _not_active(key)
        return record.directory, [parent.directory for parent in parents]

    def _mounts_of(self, record: Record, parents: Sequence[str]) -> tuple[Mount, ...]:
        if record.snapshot.kind is Kind.VIEW:
            return self._driver.mounts(parents[0], parents[1:], read_only=True)
        return self._driver.mounts(
            record.directory, parents, read_only=record.snapshot.kind is not Kind.ACTIVE
        )

    def _new_name(self) -> str:
        return self._new_id()[:16]

    async def _make_durable(self, key: str, directory: str) -> None:
        if await self._storage.sync(directory):
            await self._database.write(lambda connection: self._table.mark_durable(connection, key))


def not_found(key: str) -> errors.NotFound:
    """Return the error for a snapshot that is not here."""
    return errors.NotFound(
        f"there is no snapshot {key[:KEY_CHARS_MAX]!r}",
        reason="SNAPSHOT_NOT_FOUND",
        metadata={"key": key[:KEY_CHARS_MAX]},
    )


def _not_active(key: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"snapshot {key} is not a writable one", reason="SNAPSHOT_NOT_ACTIVE")


def _check_key(key: str) -> None:
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise errors.Invalid(
            f"a snapshot's key has 1 to {KEY_CHARS_MAX} printable characters", reason="SNAPSHOT_KEY_INVALID"
        )
