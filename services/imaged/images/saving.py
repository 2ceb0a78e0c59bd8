"""`image save`: an archive of images, streamed.

Docker's form is also an OCI image layout: `manifest.json` points to the blobs of the layout, which is what current
versions of Docker write and every version reads. The OCI form leaves Docker's file out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.imaged.images import archive
from services.imaged.model import descriptor as descriptors
from services.imaged.model import document as documents
from services.imaged.model import mediatype
from services.imaged.model.manifest import Index
from services.kit.tar import writer
from services.kit.tar.entry import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from services.imaged.images.view import ImageView
    from services.imaged.model.digest import Digest
    from services.imaged.model.reference import Reference
    from services.imaged.store.blobs import BlobStore

_BLOBS = "blobs/sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An image and the names that go with it."""

    view: ImageView
    references: Sequence[Reference]
    """With tags."""


def check(images: Sequence[SavedImage], blobs: BlobStore) -> None:
    """Check that everything that the archive will hold is here, before its first byte is sent.

    Raises:
        errors.NotFound: With reason BLOB_NOT_FOUND.
    """
    for digest in _content(images):
        os.close(blobs.open(digest))


def write(
    images: Sequence[SavedImage], blobs: BlobStore, *, with_docker: bool
) -> Generator[bytes, None, None]:
    """Yield the archive in parts of at most 1 MiB. Blocks. The same images give the same bytes."""
    yield _directory("blobs/") + _directory(f"{_BLOBS}/")
    for digest, size_bytes in sorted(_content(images).items()):
        yield writer.render(_file(f"{_BLOBS}/{digest.hex}", size_bytes))
        yield from _blob(blobs, digest, size_bytes)
        yield writer.padding(size_bytes)
    files = {
        archive.OCI_INDEX: _index(images).render(),
        archive.OCI_LAYOUT: b'{"imageLayoutVersion":"1.0.0"}',
    }
    if with_docker:
        files[archive.DOCKER_MANIFEST] = documents.render([_docker_entry(image) for image in images])
    for name, data in sorted(files.items()):
        yield writer.render(_file(name, len(data))) + data + writer.padding(len(data))
    yield writer.END


def merge(images: Sequence[SavedImage]) -> list[SavedImage]:
    """Return each image once, with all the names it was asked for by."""
    merged: dict[Digest, SavedImage] = {}
    for image in images:
        digest = image.view.record.manifest.digest
        known = merged.get(digest)
        names = dict.fromkeys((*(known.references if known else ()), *image.references))
        merged[digest] = replace(image, references=tuple(names))
    return list(merged.values())


def _content(images: Sequence[SavedImage]) -> dict[Digest, int]:
    content: dict[Digest, int] = {}
    for image in images:
        manifest = image.view.manifest
        for descriptor in (image.view.record.manifest, manifest.config, *manifest.layers):
            content[descriptor.digest] = descriptor.size_bytes
    return content


def _index(images: Sequence[SavedImage]) -> Index:
    entries: list[descriptors.Descriptor] = []
    for image in images:
        plain = replace(image.view.record.manifest, platform=image.view.config.platform)
        entries += [
            replace(
                plain,
                annotations={
                    descriptors.ANNOTATION_CONTAINERD_NAME: str(reference),
                    descriptors.ANNOTATION_REF_NAME: reference.tag,
                },
            )
            for reference in image.references
        ] or [plain]
    return Index(media_type=mediatype.OCI_INDEX, manifests=tuple(entries))


def _docker_entry(image: SavedImage) -> dict[str, object]:
    manifest = image.view.manifest
    return {
        "Config": f"{_BLOBS}/{manifest.config.digest.hex}",
        "RepoTags": [reference.familiar for reference in image.references] or None,
        "Layers": [f"{_BLOBS}/{layer.digest.hex}" for layer in manifest.layers],
    }


def _blob(blobs: BlobStore, digest: Digest, size_bytes: int) -> Generator[bytes, None, None]:
    descriptor = blobs.open(digest)
    try:
        yield from blobs.read(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)


def _directory(name: str) -> bytes:
    return writer.render(Entry(name=name.encode(), kind=Kind.DIRECTORY, mode=0o755))


def _file(name: str, size_bytes: int) -> Entry:
    return Entry(name=name.encode(), kind=Kind.FILE, mode=0o644, size_bytes=size_bytes)
