"""Chain ids: the name of a stack of layers.

The chain id of the lowest layer is its diff id (the digest of its uncompressed tar); each further one is the digest of
the chain id below it, a blank, and the layer's diff id. Two images that share their first layers share those chain ids,
and thereby the unpacked directories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.imaged.model import digest as digests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.model.digest import Digest


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Return the chain id of every prefix of the layers, base first."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digests.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
