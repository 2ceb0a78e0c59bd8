"""`image import`: an image of one layer, made from the archive of a root file system.

The layer is stored uncompressed, whatever came: it is then unpacked, and read by other nodes, without more work, and
the same tree gives the same layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.imaged import streams
from services.imaged.images.archive import PlannedImage
from services.imaged.images.events import Action
from services.imaged.images.progress import NoFeed
from services.imaged.images.staging import Staged, StagedFile
from services.imaged.layers import decompress
from services.imaged.model import change, mediatype
from services.imaged.model import config as configs
from services.imaged.model import digest as digests
from services.imaged.model.config import HistoryStep, ImageConfig, RunConfig
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.manifest import Manifest
from services.kit.tar.entry import invalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from services.imaged.images.events import ImageEvents
    from services.imaged.images.landing import Landing
    from services.imaged.model.digest import Digest
    from services.imaged.model.platform import Platform
    from services.imaged.model.reference import Reference
    from services.imaged.store.ingest import IngestStore
    from services.kit.seams import Clock

DEFAULT_MESSAGE = "Imported from -"
MESSAGE_CHARS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSpec:
    """What to make."""

    platform: Platform
    reference: Reference | None = None
    """With a tag; None leaves the image without a name."""
    changes: Sequence[str] = field(default_factory=tuple)
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new image."""

    image_id: Digest
    manifest_digest: Digest


class Importer:
    """Imports root file systems."""

    def __init__(self, ingests: IngestStore, landing: Landing, clock: Clock, events: ImageEvents) -> None:
        self._ingests = ingests
        self._landing = landing
        self._clock = clock
        self._events = events

    async def make(self, spec: ImportSpec, chunks: AsyncIterator[bytes]) -> Made:
        """Make an image of the archive in `chunks`.

        Raises:
            errors.Invalid: With reason CHANGE_INVALID, before anything is read; with ARCHIVE_INVALID afterwards.
            errors.Exhausted: With reason DISK_FULL.
        """
        run = change.apply_all(RunConfig(), spec.changes)
        if len(spec.message) > MESSAGE_CHARS_MAX:
            raise invalid(f"a message of {len(spec.message)} characters is too long")
        staged = await streams.consume(chunks, self._stage)
        try:
            (layer,) = staged.by_digest.values()
            created = configs.render_time(self._clock.now())
            message = spec.message or DEFAULT_MESSAGE
            config = ImageConfig(
                platform=spec.platform,
                created=created,
                comment=message,
                run=run,
                diff_ids=(layer.digest,),
                history=(HistoryStep(created=created, comment=message),),
            )
            descriptor = Descriptor(
                media_type=mediatype.OCI_LAYER, digest=layer.digest, size_bytes=layer.size_bytes
            )
            image = compose(staged, config, (descriptor,), spec.reference)
            await self._landing.land(staged, [image], NoFeed())
        finally:
            await streams.in_thread(staged.close)
        image_id = image.manifest.config.digest
        if spec.reference is not None:
            self._events.tell(Action.TAG, image_id, spec.reference.familiar)
        self._events.tell(Action.IMPORT, image_id)
        return Made(image_id=image_id, manifest_digest=image.descriptor.digest)

    def _stage(self, chunks: Iterator[bytes]) -> Staged:
        """Read the archive to its end; blocks. That it is one, unpacking will show."""
        compression, stream = decompress.peek(chunks)
        staged = Staged()
        try:
            ingest = staged.stack.enter_context(self._ingests.begin())
            for chunk in decompress.decompress(stream, compression):
                ingest.write(chunk)
            if ingest.offset == 0:
                raise invalid("it is empty")
        except BaseException:
            staged.close()
            raise
        digest = ingest.digest()
        staged.by_digest[digest] = StagedFile(digest, ingest.offset, b"", None, ingest)
        return staged


def compose(
    staged: Staged, config: ImageConfig, layers: tuple[Descriptor, ...], reference: Reference | None
) -> PlannedImage:
    """Return the image of a new configuration and its layers, and add the configuration to the staged content."""
    config_bytes = config.render()
    config_digest = digests.of(config_bytes)
    staged.by_digest[config_digest] = StagedFile(config_digest, len(config_bytes), b"", config_bytes, None)
    manifest = Manifest(
        media_type=mediatype.OCI_MANIFEST,
        config=Descriptor(
            media_type=mediatype.OCI_CONFIG, digest=config_digest, size_bytes=len(config_bytes)
        ),
        layers=layers,
    )
    manifest_bytes = manifest.render()
    descriptor = Descriptor(
        media_type=manifest.media_type, digest=digests.of(manifest_bytes), size_bytes=len(manifest_bytes)
    )
    return PlannedImage(
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        descriptor=descriptor,
        target=descriptor,
        config=config,
        names=(str(reference),) if reference is not None else (),
        documents=(),
    )
