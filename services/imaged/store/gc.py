"""What is rubbish: mark from images, names, leases and containers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.layers.chain import chain_ids
from services.imaged.model import digest as digests
from services.imaged.snapshots.ports import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from services.imaged.model.config import ImageConfig
    from services.imaged.model.digest import Digest
    from services.imaged.model.manifest import Manifest
    from services.imaged.snapshots.ports import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """All that keeps something else."""

    images: Mapping[Digest, tuple[Manifest, ImageConfig]]
    """By manifest digest."""
    targets: AbstractSet[Digest]
    """What names stand for: manifests, and indexes above them."""
    leased: AbstractSet[str]
    """Digests of blobs and keys of snapshots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What nothing keeps."""

    blobs: tuple[Digest, ...]
    snapshots: tuple[str, ...]
    """Keys, children before their parents."""


def find(roots: Roots, blobs: Iterable[Digest], snapshots: Collection[Snapshot]) -> Garbage:
    """Return the garbage among some blobs and all snapshots.

    Of the snapshots only layers of images can be garbage (their keys are chain ids): what somebody made under a key of
    his own, he removes. What such a snapshot stands on is kept.
    """
    live_blobs = set(roots.targets)
    live_keys = set(roots.leased)
    for manifest_digest, (manifest, config) in roots.images.items():
        live_blobs |= {manifest_digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        live_keys |= {str(chain_id) for chain_id in chain_ids(config.diff_ids)}
    by_key = {snapshot.key: snapshot for snapshot in snapshots}
    wanted = [
        snapshot.key
        for snapshot in snapshots
        if snapshot.kind is not Kind.COMMITTED or not is_layer_key(snapshot.key) or snapshot.key in live_keys
    ]
    kept: set[str] = set()
    while wanted:
        key = wanted.pop()
        if key in by_key and key not in kept:
            kept.add(key)
            wanted.append(by_key[key].parent)
    doomed = [key for key in by_key if key not in kept]
    return Garbage(
        blobs=tuple(blob for blob in blobs if blob not in live_blobs and str(blob) not in roots.leased),
        snapshots=tuple(sorted(doomed, key=lambda key: -_depth(key, by_key))),
    )


def is_layer_key(key: str) -> bool:
    """Return whether a snapshot's key is a chain id."""
    return key.startswith(digests.PREFIX) and digests.is_hex(key[len(digests.PREFIX) :])


def _depth(key: str, by_key: Mapping[str, Snapshot]) -> int:
    depth = 0
    while key in by_key:
        key = by_key[key].parent
        depth += 1
    return depth
