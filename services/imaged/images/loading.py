"""`image load`: archives of images, as `docker save`, this program and OCI tools write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged import streams
from services.imaged.images import archive, staging
from services.imaged.images.events import Action
from services.imaged.images.progress import Step
from services.imaged.model import platform as platforms
from services.imaged.model import reference as references

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.imaged.images.events import ImageEvents
    from services.imaged.images.landing import Landing
    from services.imaged.images.progress import Feed
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.imaged.model.platform import Platform
    from services.imaged.store.ingest import IngestStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An image that is now present, under one of its names."""

    name: str
    """Familiar; "" if it has none."""
    image_id: Digest


class Loader:
    """Loads archives."""

    def __init__(
        self, ingests: IngestStore, landing: Landing, node_platform: Platform, events: ImageEvents
    ) -> None:
        self._ingests = ingests
        self._landing = landing
        self._node_platform = node_platform
        self._events = events

    async def load(
        self, chunks: AsyncIterator[bytes], wanted: Sequence[Platform], feed: Feed
    ) -> list[Loaded]:
        """Load every image of an archive, or none.

        Args:
            chunks: The archive, possibly compressed.
            wanted: Platforms to take of an image that comes for several; empty means this node's, or what there is.
            feed: Is told of the progress.

        Raises:
            errors.Invalid: With reason ARCHIVE_INVALID, DIGEST_MISMATCH or DOCUMENT_INVALID.
            errors.Exhausted: With reason DISK_FULL.
        """

        def report(done_bytes: int) -> None:
            feed.report(Step(id="archive", phase="reading", done_bytes=done_bytes))

        staged = await streams.consume(chunks, lambda stream: staging.read(stream, self._ingests, report))
        try:
            images = await streams.in_thread(
                archive.plan, staged, lambda entries: self._choose(entries, wanted)
            )
            await self._landing.land(staged, images, feed)
        finally:
            await streams.in_thread(staged.close)
        for image_id in dict.fromkeys(image.manifest.config.digest for image in images):
            self._events.tell(Action.LOAD, image_id)
        return [
            Loaded(
                name=references.parse(name).familiar if name else "",
                image_id=image.manifest.config.digest,
            )
            for image in images
            for name in (image.names or ("",))
        ]

    def _choose(self, entries: Sequence[Descriptor], wanted: Sequence[Platform]) -> Sequence[Descriptor]:
        if wanted:
            found = [platforms.choose(entries, lambda entry: entry.platform, platform) for platform in wanted]
            return list(dict.fromkeys(entry for entry in found if entry is not None))
        best = platforms.choose(entries, lambda entry: entry.platform, self._node_platform)
        return [best] if best is not None else list(entries)
