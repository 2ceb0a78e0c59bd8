"""What `system df` shows: a row for each kind of object, or with --verbose one for each object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.views import container as container_view
from cli.views import image as image_view
from cli.views import volume as volume_view
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from beeyard.container.v1 import container_pb2
    from beeyard.image.v1 import image_pb2
    from beeyard.system.v1 import system_pb2 as pb

DEFAULT = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
HEADERS: Mapping[str, str] = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
BUILD_CACHE = "build-cache"
"""Nothing fills it: who reads docker's four rows finds them."""
_KINDS = {
    "images": "Images",
    "containers": "Containers",
    "volumes": "Local Volumes",
    BUILD_CACHE: "Build Cache",
}
IMAGES = (
    "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}"
    "\t{{.Containers}}"
)
CONTAINERS = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}"
VOLUMES = volume_view.SIZED
_DIGITS = 4
"""Here docker shows sizes with a digit more than in its lists."""


def row(usage: pb.DiskUsage) -> dict[str, Any]:
    """Make the row of a kind."""
    share = f" ({100 * usage.reclaimable_bytes // usage.size_bytes}%)" if usage.size_bytes else ""
    return {
        "Type": _KINDS.get(usage.kind, usage.kind),
        "TotalCount": str(usage.total_count),
        "Active": str(usage.active_count),
        "Size": _size(usage.size_bytes),
        "Reclaimable": f"{_size(usage.reclaimable_bytes)}{share}",
    }


def image_row(image: image_pb2.Image, now: datetime, *, full: bool) -> dict[str, Any]:
    """Make the row of an image: one, however many names it has. Its size is layers and blobs together."""
    size_bytes = image.size_bytes + image.content_size_bytes
    return {
        **next(image_view.rows(image, now, digests=True, full=full)),
        "Size": units.render_bytes(size_bytes),
        "SharedSize": _size(image.shared_size_bytes),
        "UniqueSize": _size(size_bytes - image.shared_size_bytes),
    }


def container_row(container: container_pb2.Container, now: datetime, *, full: bool) -> dict[str, Any]:
    """Make the row of a container. Its size is the writable layer and the log."""
    return {
        **container_view.row(container, now, full=full),
        "Size": units.render_bytes(container.size_rw_bytes + container.size_log_bytes),
        "LogSize": units.render_bytes(container.size_log_bytes),
    }


def _size(size_bytes: int) -> str:
    return units.render_bytes(size_bytes, digits=_DIGITS)
