"""Sees to it that the layers of an image are unpacked, each once, however many ask at the same time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from services.imaged.images.progress import Step
from services.imaged.keyed import KeyedLocks
from services.imaged.layers.chain import chain_ids
from services.imaged.model import mediatype
from services.imaged.snapshots.ports import LayerSpec
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.imaged.images.progress import Feed
    from services.imaged.layers.limits import Limits
    from services.imaged.model.config import ImageConfig
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.imaged.model.manifest import Manifest
    from services.imaged.snapshots.ports import Snapshots

OpenLayer: TypeAlias = "Callable[[Descriptor], Awaitable[int]]"
"""Returns a descriptor of a layer's blob, at its start; waits until the blob is there."""

_log = log.get(__name__)


class Unpacker:
    """Turns layers into committed snapshots, keyed by chain id."""

    def __init__(self, snapshots: Snapshots, limits: Limits) -> None:
        self._snapshots = snapshots
        self._limits = limits
        self._locks = KeyedLocks()

    async def ensure(self, manifest: Manifest, config: ImageConfig, open_layer: OpenLayer, feed: Feed) -> str:
        """Unpack what is not unpacked yet, base first; return the key of the top layer, "" if there is none.

        Raises:
            errors.Invalid: A layer is malformed, hostile, or not what the configuration says.
            errors.Exhausted: With reason DISK_FULL.
        """
        parent = ""
        keys = [str(chain_id) for chain_id in chain_ids(config.diff_ids)]
        for layer, diff_id, key in zip(manifest.layers, config.diff_ids, keys, strict=True):
            async with self._locks.hold(key):
                if not await self._has(key):
                    blob = await open_layer(layer)
                    try:
                        await self._unpack(layer, diff_id, key, parent, blob, feed)
                    finally:
                        os.close(blob)
            parent = key
        return parent

    async def _unpack(
        self, layer: Descriptor, diff_id: Digest, key: str, parent: str, blob: int, feed: Feed
    ) -> None:
        is_plain = mediatype.layer_compression(layer.media_type) == "none" and layer.digest == diff_id
        spec = LayerSpec(key=key, parent=parent, diff_id=None if is_plain else diff_id, limits=self._limits)

        def report(done_bytes: int) -> None:
            feed.report(Step(id=str(layer.digest), phase="extracting", done_bytes=done_bytes))

        report(0)
        try:
            await self._snapshots.unpack(spec, blob, report)
        except errors.Invalid as error:
            raise errors.Invalid(
                f"layer {layer.digest.short}: {error.message}", reason=error.reason, metadata=error.metadata
            ) from error
        feed.report(Step(id=str(layer.digest), phase="complete", total_bytes=layer.size_bytes))
        _log.info("layer_unpacked", digest=layer.digest, key=key)

    async def _has(self, key: str) -> bool:
        try:
            await self._snapshots.get(key)
        except errors.NotFound:
            return False
        return True
