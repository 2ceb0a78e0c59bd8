"""Descriptors: a typed, sized pointer to content by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.imaged.model import digest as digests
from services.imaged.model import platform as platforms

if TYPE_CHECKING:
    from services.imaged.model.document import Document

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_CONTAINERD_NAME = "io.containerd.image.name"
"""Set by Docker and containerd in archives: the full name, where the OCI annotation often holds the tag alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What some content is, how long it is, and its digest."""

    media_type: str
    digest: digests.Digest
    size_bytes: int
    platform: platforms.Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_fields(self) -> dict[str, object]:
        """Return the JSON object of the OCI specification."""
        fields: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        if self.platform is not None:
            platform = {"architecture": self.platform.architecture, "os": self.platform.os}
            fields["platform"] = platform | (
                {"variant": self.platform.variant} if self.platform.variant else {}
            )
        if self.annotations:
            fields["annotations"] = dict(sorted(self.annotations.items()))
        return fields


def from_document(document: Document) -> Descriptor:
    """Return the descriptor in a JSON object.

    Raises:
        errors.Invalid: A field is missing or wrong.
    """
    size_bytes = document.integer("size")
    if size_bytes < 0:
        raise document.invalid("size", "is negative")
    platform = document.child("platform")
    known = platform.text("os") and platform.text("architecture")
    return Descriptor(
        media_type=document.text("mediaType"),
        digest=digests.parse(document.text("digest")),
        size_bytes=size_bytes,
        platform=platforms.normalise(
            platform.text("os"), platform.text("architecture"), platform.text("variant")
        )
        if known
        else None,
        annotations=document.text_map("annotations"),
    )
