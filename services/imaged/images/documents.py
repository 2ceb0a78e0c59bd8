"""Manifests and configurations from the content store, parsed once: they never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from services.imaged.model import config as configs
from services.imaged.model import document, manifest
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.imaged.model.config import ImageConfig
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.imaged.model.manifest import Index, Manifest
    from services.imaged.store.blobs import BlobStore

V = TypeVar("V")

CACHED_MAX = 512


class Documents:
    """Reads small blobs. The calls block for the time of reading a small file when it is not cached."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._manifests: _Cache[Manifest | Index] = _Cache()
        self._configs: _Cache[ImageConfig] = _Cache()

    def manifest_or_index(self, descriptor: Descriptor) -> Manifest | Index:
        """Return what a descriptor of a manifest or index points to.

        Raises:
            errors.NotFound: With reason BLOB_NOT_FOUND.
            errors.Invalid: It is malformed.
            errors.Internal: With reason CONTENT_CORRUPT.
        """
        return self._manifests.get(
            descriptor.digest,
            lambda: manifest.parse(
                self._blobs.read_small(descriptor.digest, manifest.MANIFEST_BYTES_MAX), descriptor.media_type
            ),
        )

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return the manifest that a descriptor points to; raises as above, and if it is an index."""
        found = self.manifest_or_index(descriptor)
        if not isinstance(found, manifest.Manifest):
            raise errors.Invalid(
                f"content {descriptor.digest.short} is an index, not a manifest", reason="MANIFEST_INVALID"
            )
        return found

    def config(self, digest: Digest) -> ImageConfig:
        """Return an image configuration; raises as `manifest_or_index`."""
        return self._configs.get(
            digest, lambda: configs.parse(self._blobs.read_small(digest, document.DOCUMENT_BYTES_MAX))
        )


class _Cache(Generic[V]):
    """The most recently used values. The loop and the collector's thread share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[Digest, V] = OrderedDict()

    def get(self, digest: Digest, read: Callable[[], V]) -> V:
        with self._lock:
            if (value := self._values.get(digest)) is not None:
                self._values.move_to_end(digest)
                return value
        value = read()
        with self._lock:
            self._values[digest] = value
            if len(self._values) > CACHED_MAX:
                self._values.popitem(last=False)
        return value
