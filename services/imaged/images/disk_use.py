"""What images take on the disk: the unpacked layers and the blobs of each, and what of that they share. Pure."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.imaged.images.view import ImageView
    from services.imaged.model.digest import Digest


def layers(views: Iterable[ImageView]) -> dict[Digest, int]:
    """Return the unpacked size of every layer that images stand on, each once, by its chain id."""
    return {key: size for view in views for key, size in zip(view.chain_ids, view.layer_sizes, strict=True)}


def reclaimable_bytes(views: Iterable[ImageView]) -> int:
    """Return what goes when every image goes that no container was made from."""
    views = list(views)
    kept = _parts(view for view in views if view.users)
    unused = _parts(view for view in views if not view.users)
    return sum(size for part, size in unused.items() if part not in kept)


def shared_bytes(views: Iterable[ImageView]) -> Mapping[Digest, int]:
    """Return by image id what of an image other images have too."""
    by_id = {view.record.image_id: _parts([view]) for view in views}
    holders = collections.Counter(part for parts in by_id.values() for part in parts)
    return {
        image_id: sum(size for part, size in parts.items() if holders[part] > 1)
        for image_id, parts in by_id.items()
    }


def _parts(views: Iterable[ImageView]) -> dict[tuple[str, Digest], int]:
    """Return layers and blobs: the only layer of an image that is not packed has one digest for both."""
    views = list(views)
    blobs = {("blob", blob.digest): blob.size_bytes for view in views for blob in view.blobs}
    return blobs | {("layer", key): size for key, size in layers(views).items()}
