"""What `checkpoint ls` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.container.v1 import container_pb2 as pb

DEFAULT = "{{.Name}}"
HEADERS = {"Name": "CHECKPOINT NAME"}


def row(checkpoint: pb.Checkpoint) -> Mapping[str, str]:
    """Return the fields of a line."""
    return {"Name": checkpoint.name}
