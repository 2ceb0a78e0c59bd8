"""Manifests (one image for one platform) and indexes (the same image for several), OCI and Docker schema 2."""

from __future__ import annotations

from dataclasses import dataclass

from services.imaged.model import descriptor as descriptors
from services.imaged.model import document as documents
from services.imaged.model import mediatype
from services.imaged.model.descriptor import Descriptor
from services.kit import errors

MANIFEST_BYTES_MAX = 4 << 20
LAYERS_MAX = 500
"""What the kernel's overlay file system can stack."""
INDEX_ENTRIES_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform: a configuration and layers, base first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    def render(self) -> bytes:
        """Return the JSON form; equal manifests have equal bytes."""
        return documents.render(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": self.config.to_fields(),
                "layers": [layer.to_fields() for layer in self.layers],
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Manifests of one image for several platforms, or of several images in an archive."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    def render(self) -> bytes:
        """Return the JSON form."""
        return documents.render(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "manifests": [manifest.to_fields() for manifest in self.manifests],
            }
        )


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """Return the manifest or index in `data`.

    Args:
        data: The bytes, at most `MANIFEST_BYTES_MAX`.
        media_type: What the descriptor or the HTTP header said it is; "" if nothing did. The document's own field
            must not contradict it: a digest alone does not say how content is to be read.

    Raises:
        errors.Invalid: Malformed, contradictory or beyond a limit.
        errors.Unsupported: Docker's schema 1, or a type that is not an image.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise errors.Invalid(
            f"image manifest is larger than {MANIFEST_BYTES_MAX >> 20} MiB", reason="MANIFEST_INVALID"
        )
    document = documents.parse(data, "image manifest")
    own_type = document.text("mediaType")
    if own_type and media_type and own_type != media_type:
        raise document.invalid("mediaType", f"is {own_type!r}, but it was announced as {media_type!r}")
    kind = own_type or media_type or _guess(document)
    if (
        kind in {mediatype.DOCKER_SCHEMA1, mediatype.DOCKER_SCHEMA1_SIGNED}
        or document.integer("schemaVersion") == 1
    ):
        raise errors.Unsupported(
            "the image's manifest is of Docker's schema 1, which is no longer supported: push it again with a new tool",
            reason="MANIFEST_SCHEMA1",
        )
    if document.has("manifests") and document.has("layers"):
        raise document.invalid(
            "manifests", "and 'layers' are both there: it cannot be an index and a manifest"
        )
    if kind in mediatype.INDEXES:
        return _parse_index(document, kind)
    if kind in mediatype.MANIFESTS:
        return _parse_manifest(document, kind)
    raise errors.Unsupported(
        f"content of type {kind[:200]!r} is not an image", reason="MEDIA_TYPE_UNSUPPORTED"
    )


def _guess(document: documents.Document) -> str:
    if document.has("manifests"):
        return mediatype.OCI_INDEX
    return mediatype.OCI_MANIFEST if document.has("config") else ""


def _parse_index(document: documents.Document, kind: str) -> Index:
    manifests = tuple(descriptors.from_document(item) for item in document.children("manifests"))
    if len(manifests) > INDEX_ENTRIES_MAX:
        raise document.invalid("manifests", f"has more than {INDEX_ENTRIES_MAX} entries")
    return Index(media_type=kind, manifests=manifests)


def _parse_manifest(document: documents.Document, kind: str) -> Manifest:
    if not document.has("config"):
        raise document.invalid("config", "is missing")
    layers = tuple(descriptors.from_document(item) for item in document.children("layers"))
    if len(layers) > LAYERS_MAX:
        raise document.invalid("layers", f"has more than {LAYERS_MAX} entries: no file system can stack them")
    config = descriptors.from_document(document.child("config"))
    return Manifest(media_type=kind, config=config, layers=layers)
