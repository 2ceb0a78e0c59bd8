"""The last leg of every image that comes from a stream: into the content store, unpacked, registered."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from services.imaged import streams
from services.imaged.images.registrar import Registration
from services.imaged.layers.chain import chain_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from services.imaged.images.archive import PlannedImage
    from services.imaged.images.collector import Collector
    from services.imaged.images.progress import Feed
    from services.imaged.images.registrar import Registrar
    from services.imaged.images.staging import Staged
    from services.imaged.images.unpack import Unpacker
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.imaged.store.blobs import BlobStore
    from services.imaged.store.ingest import IngestStore
    from services.imaged.store.leases import Lease, Leases

T = TypeVar("T")


class Landing:
    """Takes staged content and the images that were found in it."""

    def __init__(
        self,
        blobs: BlobStore,
        ingests: IngestStore,
        unpacker: Unpacker,
        registrar: Registrar,
        leases: Leases,
        collector: Collector,
    ) -> None:
        self._blobs = blobs
        self._ingests = ingests
        self._unpacker = unpacker
        self._registrar = registrar
        self._leases = leases
        self._collector = collector

    async def land(self, staged: Staged, images: Sequence[PlannedImage], feed: Feed) -> None:
        """Make the images present, all of them or none. The staging stays the caller's to close.

        Raises:
            errors.BeeyardError: Nothing is left behind.
        """
        try:
            async with self._leases.hold() as lease:
                await self._land(staged, images, lease, feed)
        except BaseException:
            await asyncio.shield(self._collector.collect_after_failure())
            raise

    async def _land(self, staged: Staged, images: Sequence[PlannedImage], lease: Lease, feed: Feed) -> None:
        for image in images:
            await lease.add((*_content_of(image), *chain_ids(image.config.diff_ids)))
            # Unpacking reads the staged files by descriptor while they are synced and moved into the store.
            with ExitStack() as opened:
                layers = {layer.digest: staged.open(layer.digest) for layer in self._missing(image)}
                for descriptor in layers.values():
                    opened.callback(os.close, descriptor)

                async def open_layer(layer: Descriptor, layers: dict[Digest, int] = layers) -> int:
                    present = layers.get(layer.digest)
                    return self._blobs.open(layer.digest) if present is None else _open_again(present)

                await _both(
                    streams.in_thread(self._commit, staged, image),
                    self._unpacker.ensure(image.manifest, image.config, open_layer, feed),
                )
        await self._registrar.register(
            [
                Registration(
                    manifest=image.descriptor,
                    image_id=image.manifest.config.digest,
                    config=image.config,
                    target=image.target,
                    names=image.names,
                )
                for image in images
            ]
        )

    def _missing(self, image: PlannedImage) -> list[Descriptor]:
        return [layer for layer in image.manifest.layers if self._blobs.stat(layer.digest) is None]

    def _commit(self, staged: Staged, image: PlannedImage) -> None:
        for digest in _content_of(image):
            if self._blobs.stat(digest) is not None:
                continue
            if digest in staged.by_digest:
                staged.commit(digest, self._ingests)
                continue
            assert digest == image.descriptor.digest, f"{digest} is neither staged nor made here"
            with self._ingests.begin() as ingest:
                ingest.write(image.manifest_bytes)
                ingest.commit(digest)


def _content_of(image: PlannedImage) -> tuple[Digest, ...]:
    """Return all blobs of an image, the manifest last: where it is, the rest is as well."""
    layers = (layer.digest for layer in image.manifest.layers)
    return tuple(
        dict.fromkeys((*layers, image.manifest.config.digest, *image.documents, image.descriptor.digest))
    )


def _open_again(descriptor: int) -> int:
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


async def _both(first: Awaitable[object], second: Awaitable[object]) -> None:
    """Do two things at once; if one fails, its error is raised when the other has ended too."""
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
