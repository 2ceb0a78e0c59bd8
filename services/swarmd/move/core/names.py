"""The names by which the nodes know what belongs to a move. All are made of its id: so what is found can be removed."""

from __future__ import annotations

from typing import Final

VOLUME_LABEL: Final = "dev.beeyard.move"
"""Label of a volume that came with a move: the move's id. Undoing a move removes nothing that has it not."""


def holder(move_id: str) -> str:
    """Return who holds the container; also the request id of the one that is made on the new node."""
    return f"move {move_id}"


def image(move_id: str, digest: str) -> str:
    """Return the name under which the new node fetches a manifest."""
    return f"beeyard-move/{move_id}@{digest}"


def layer(move_id: str) -> str:
    """Return the name of the image with the writable layer, on the old node."""
    return f"beeyard-move/{move_id}:layer"


def checkpoint(move_id: str) -> str:
    """Return the name of the checkpoint, on both nodes."""
    return f"move-{move_id}"
