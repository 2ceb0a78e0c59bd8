"""SnapshotService."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beeyard.image.v1 import snapshot_pb2, snapshot_pb2_grpc
from services.imaged import streams
from services.imaged.api import convert
from services.imaged.images import naming
from services.imaged.images.committing import CommitSpec
from services.imaged.images.progress import NoFeed
from services.imaged.store import images as image_rows
from services.kit import errors
from services.kit.tar import ids as id_maps

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Iterable, Sequence

    from services.imaged.images.catalog import Catalog
    from services.imaged.images.committing import Committer
    from services.imaged.model.digest import Digest
    from services.imaged.pull.puller import Puller
    from services.imaged.snapshots.ports import Mount, Snapshots
    from services.kit.rpc.types import Context
    from services.kit.sqlite import Database

PAGE_MAX = 1000


class SnapshotApi(snapshot_pb2_grpc.SnapshotServiceServicer):
    """See snapshot.proto."""

    def __init__(
        self, snapshots: Snapshots, catalog: Catalog, puller: Puller, committer: Committer, database: Database
    ) -> None:
        self._snapshots = snapshots
        self._catalog = catalog
        self._puller = puller
        self._committer = committer
        self._database = database

    async def PrepareSnapshot(
        self, request: snapshot_pb2.PrepareSnapshotRequest, context: Context
    ) -> snapshot_pb2.PrepareSnapshotResponse:
        """Make a writable snapshot."""
        parent, manifest_digest, image_id = request.snapshot_key, None, ""
        if request.WhichOneof("parent") == "image":
            record = await self._catalog.get(request.image)
            parent = await self._puller.unpack(record, NoFeed())
            manifest_digest, image_id = record.manifest.digest, str(record.image_id)
        mounts = await self._snapshots.prepare(
            request.key,
            parent,
            read_only=request.read_only,
            manifest_digest=manifest_digest,
            labels=dict(request.labels),
        )
        return snapshot_pb2.PrepareSnapshotResponse(mounts=convert.mounts(mounts), image_id=image_id)

    async def GetMounts(
        self, request: snapshot_pb2.GetMountsRequest, context: Context
    ) -> snapshot_pb2.GetMountsResponse:
        """Say how to mount a snapshot."""
        return snapshot_pb2.GetMountsResponse(mounts=convert.mounts(await self._mounts(request.key)))

    async def CommitSnapshot(
        self, request: snapshot_pb2.CommitSnapshotRequest, context: Context
    ) -> snapshot_pb2.CommitSnapshotResponse:
        """Turn an active snapshot into a committed one."""
        await self._snapshots.commit(request.key, request.committed_key)
        return snapshot_pb2.CommitSnapshotResponse()

    async def RemoveSnapshot(
        self, request: snapshot_pb2.RemoveSnapshotRequest, context: Context
    ) -> snapshot_pb2.RemoveSnapshotResponse:
        """Remove a snapshot."""
        await self._snapshots.remove(request.key)
        return snapshot_pb2.RemoveSnapshotResponse()

    async def ListSnapshots(
        self, request: snapshot_pb2.ListSnapshotsRequest, context: Context
    ) -> snapshot_pb2.ListSnapshotsResponse:
        """Page through the snapshots."""
        limit = min(request.page_size or PAGE_MAX, PAGE_MAX)
        page = await self._snapshots.page(after=request.page_token, limit=limit)
        wanted = {snapshot.manifest_digest for snapshot in page if snapshot.manifest_digest}
        ids = await self._image_ids(wanted)
        return snapshot_pb2.ListSnapshotsResponse(
            snapshots=[
                convert.snapshot(
                    snapshot, ids.get(snapshot.manifest_digest, "") if snapshot.manifest_digest else ""
                )
                for snapshot in page
            ],
            next_page_token=page[-1].key if len(page) == limit else "",
        )

    async def DiffSnapshot(
        self, request: snapshot_pb2.DiffSnapshotRequest, context: Context
    ) -> AsyncIterator[snapshot_pb2.DiffSnapshotResponse]:
        """Stream changed paths."""
        ids = _ids(request.owner_ids)
        changes = self._snapshots.changes(request.key, request.mount_points, ids)
        async with contextlib.aclosing(changes) as batches:
            async for batch in batches:
                yield snapshot_pb2.DiffSnapshotResponse(changes=convert.changes(batch))

    async def ExportDiff(
        self, request: snapshot_pb2.ExportDiffRequest, context: Context
    ) -> AsyncIterator[snapshot_pb2.ExportDiffResponse]:
        """Stream the changes as a layer's tar."""
        tar = streams.from_pipe(lambda output: self._snapshots.export(request.key, output))
        async with contextlib.aclosing(tar) as chunks:
            async for chunk in chunks:
                yield snapshot_pb2.ExportDiffResponse(chunk=chunk)

    async def CommitImage(
        self, request: snapshot_pb2.CommitImageRequest, context: Context
    ) -> snapshot_pb2.CommitImageResponse:
        """Make an image of an active snapshot."""
        made = await self._committer.commit(
            CommitSpec(
                key=request.key,
                reference=naming.parse_tag(request.reference) if request.reference else None,
                author=request.author,
                message=request.message,
                changes=tuple(request.changes),
                mount_points=tuple(request.mount_points),
                ran=convert.run_from_pb(request.ran) if request.HasField("ran") else None,
                ids=_ids(request.owner_ids),
            )
        )
        return snapshot_pb2.CommitImageResponse(
            image_id=str(made.image_id), manifest_digest=str(made.manifest_digest)
        )

    async def GetUsage(
        self, request: snapshot_pb2.GetUsageRequest, context: Context
    ) -> snapshot_pb2.GetUsageResponse:
        """Sum what belongs to a snapshot alone."""
        usage = await self._snapshots.usage(request.key)
        return snapshot_pb2.GetUsageResponse(size_bytes=usage.size_bytes, inode_count=usage.inode_count)

    async def _mounts(self, key: str) -> Sequence[Mount]:
        """Return how to mount a snapshot; layers below it that were lost are unpacked again."""
        try:
            return await self._snapshots.mounts(key)
        except errors.NotFound as error:
            if error.metadata.get("key") == key:
                raise
            snapshot = await self._snapshots.get(key)
            if snapshot.manifest_digest is None:
                raise
            record = await self._catalog.get(str(snapshot.manifest_digest))
            await self._puller.unpack(record, NoFeed())
        return await self._snapshots.mounts(key)

    async def _image_ids(self, manifests: Iterable[Digest]) -> dict[Digest, str]:
        wanted = tuple(manifests)

        def read(connection: sqlite3.Connection) -> dict[Digest, str]:
            records = (image_rows.get(connection, digest) for digest in wanted)
            return {record.manifest.digest: str(record.image_id) for record in records if record}

        return await self._database.read(read)


def _ids(owner_ids: snapshot_pb2.OwnerIds) -> id_maps.IdMap:
    """Return the mapping of the user namespace that a request names."""
    if not owner_ids.size:
        return id_maps.IDENTITY
    return id_maps.of_range(owner_ids.start, owner_ids.size)
