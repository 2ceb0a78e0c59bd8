"""Images as people see them: all manifests and names of one configuration, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.imaged.layers.chain import chain_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.model.config import ImageConfig
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.imaged.model.manifest import Manifest
    from services.imaged.model.reference import Reference
    from services.imaged.store.images import ImageRecord

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAs:
    """A name and when it moved to the image."""

    reference: Reference
    target_digest: Digest
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One image."""

    record: ImageRecord
    manifest: Manifest
    config: ImageConfig
    names: Sequence[NamedAs]
    size_bytes: int
    """Unpacked, of all layers."""
    layer_sizes: Sequence[int]
    users: int
    """Snapshots of containers that stand on it."""

    @property
    def repo_tags(self) -> list[str]:
        """Names with a tag, familiar."""
        return [name.reference.familiar for name in self.names if name.reference.tag]

    @property
    def repo_digests(self) -> list[str]:
        """Names with a digest, familiar: those it was pulled by, and what each tag stands for."""
        found = {
            name.reference.with_digest(name.reference.digest or name.target_digest).familiar
            for name in self.names
        }
        return sorted(found)

    @property
    def tagged_at(self) -> datetime | None:
        """When a name last moved to it."""
        return max((name.moved_at for name in self.names), default=None)

    @property
    def chain_ids(self) -> list[Digest]:
        """Keys of the snapshots of its layers, base first."""
        return chain_ids(self.config.diff_ids)

    @property
    def chain_id(self) -> str:
        """Key of the snapshot of its top layer; "" without layers."""
        return str(next(reversed(self.chain_ids), ""))

    @property
    def blobs(self) -> Sequence[Descriptor]:
        """Its blobs, each once: manifest, configuration, layers."""
        every = (self.record.manifest, self.manifest.config, *self.manifest.layers)
        return list({blob.digest: blob for blob in every}.values())

    @property
    def content_size_bytes(self) -> int:
        """Bytes of its blobs."""
        return sum(blob.size_bytes for blob in self.blobs)
