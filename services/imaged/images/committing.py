"""Makes an image of a container's writable snapshot: its image's layers, and one more with what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from services.imaged import streams
from services.imaged.images.events import Action
from services.imaged.images.importing import Made, compose
from services.imaged.images.progress import NoFeed
from services.imaged.images.staging import Staged, StagedFile
from services.imaged.model import change, mediatype
from services.imaged.model import config as configs
from services.imaged.model import digest as digests
from services.imaged.model.config import HistoryStep, ImageConfig
from services.imaged.model.descriptor import Descriptor
from services.imaged.snapshots.ports import Kind
from services.imaged.store import images as image_rows
from services.kit import errors
from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.images.documents import Documents
    from services.imaged.images.events import ImageEvents
    from services.imaged.images.landing import Landing
    from services.imaged.model.config import RunConfig
    from services.imaged.model.platform import Platform
    from services.imaged.model.reference import Reference
    from services.imaged.snapshots.ports import Snapshot, Snapshots
    from services.imaged.store.ingest import Ingest, IngestStore
    from services.kit.seams import Clock
    from services.kit.sqlite import Database
    from services.kit.tar.ids import IdMap


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSpec:
    """What to make of the snapshot."""

    key: str
    reference: Reference | None = None
    """With a tag; None leaves the image without a name."""
    author: str = ""
    message: str = ""
    changes: Sequence[str] = field(default_factory=tuple)
    mount_points: Sequence[str] = field(default_factory=tuple)
    """What is there only to mount on stays out of the image."""
    ran: RunConfig | None = None
    """What the container was started with; None is what its image says."""
    ids: IdMap = IDENTITY
    """Of the user namespace that the container had; the image has the container's own."""


class Committer:
    """Commits containers."""

    def __init__(
        self,
        database: Database,
        documents: Documents,
        snapshots: Snapshots,
        ingests: IngestStore,
        landing: Landing,
        clock: Clock,
        node_platform: Platform,
        events: ImageEvents,
    ) -> None:
        self._database = database
        self._documents = documents
        self._snapshots = snapshots
        self._ingests = ingests
        self._landing = landing
        self._clock = clock
        self._node_platform = node_platform
        self._events = events

    async def commit(self, spec: CommitSpec) -> Made:
        """Make the image. Whether the container stands still meanwhile is the caller's concern.

        Raises:
            errors.NotFound: With reason SNAPSHOT_NOT_FOUND, or IMAGE_NOT_FOUND if its image is gone.
            errors.FailedPrecondition: With reason SNAPSHOT_NOT_ACTIVE.
            errors.Invalid: With reason CHANGE_INVALID.
        """
        snapshot = await self._snapshots.get(spec.key)
        if snapshot.kind is not Kind.ACTIVE:
            raise errors.FailedPrecondition(
                f"snapshot {spec.key} is not a writable one", reason="SNAPSHOT_NOT_ACTIVE"
            )
        base, layers = await self._base(snapshot)
        ran = spec.ran and replace(spec.ran, shell=base.run.shell, on_build=base.run.on_build)
        run = change.apply_all(ran or base.run, spec.changes)
        staged = Staged()
        try:
            ingest = staged.stack.enter_context(self._ingests.begin())
            layer = await self._export(spec, ingest)
            staged.by_digest[layer.digest] = StagedFile(layer.digest, layer.size_bytes, b"", None, ingest)
            created = configs.render_time(self._clock.now())
            step = HistoryStep(
                created=created,
                created_by=" ".join((*ran.entrypoint, *ran.cmd)) if ran else "",
                author=spec.author,
                comment=spec.message,
            )
            config = replace(
                base,
                created=created,
                author=spec.author or base.author,
                comment=spec.message,
                run=run,
                diff_ids=(*base.diff_ids, layer.digest),
                history=(*base.history, step),
            )
            image = compose(staged, config, (*layers, layer), spec.reference)
            await self._landing.land(staged, [image], NoFeed())
        finally:
            await streams.in_thread(staged.close)
        if spec.reference is not None:
            self._events.tell(Action.TAG, image.manifest.config.digest, spec.reference.familiar)
        return Made(image_id=image.manifest.config.digest, manifest_digest=image.descriptor.digest)

    async def _base(self, snapshot: Snapshot) -> tuple[ImageConfig, tuple[Descriptor, ...]]:
        digest = snapshot.manifest_digest
        if digest is None:
            if snapshot.parent:
                raise errors.FailedPrecondition(
                    f"snapshot {snapshot.key} was not made from an image", reason="SNAPSHOT_WITHOUT_IMAGE"
                )
            return ImageConfig(platform=self._node_platform), ()
        record = await self._database.read(lambda connection: image_rows.get(connection, digest))
        if record is None:
            raise errors.NotFound(
                f"the image that snapshot {snapshot.key} was made from is gone", reason="IMAGE_NOT_FOUND"
            )
        manifest = self._documents.manifest(record.manifest)
        layers = tuple(
            replace(
                layer, media_type=mediatype.oci_layer(mediatype.layer_compression(layer.media_type) or "none")
            )
            for layer in manifest.layers
        )
        return self._documents.config(record.image_id), layers

    async def _export(self, spec: CommitSpec, ingest: Ingest) -> Descriptor:
        """Write the changes into an ingest, whose content the worker has hashed on the way."""
        written = await self._snapshots.export(spec.key, ingest.descriptor, spec.mount_points, spec.ids)
        digest = digests.Digest(written.sha256_hex)
        ingest.adopt(digest, written.tar_bytes)
        return Descriptor(media_type=mediatype.OCI_LAYER, digest=digest, size_bytes=written.tar_bytes)
