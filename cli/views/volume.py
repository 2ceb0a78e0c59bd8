"""Volumes as `volume ls` and `volume inspect` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.format.values import NO_MAP, OpenMap
from cli.views.values import label_list, rfc3339
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.container.v1 import volume_pb2 as pb

DEFAULT = "{{.Driver}}\t{{.Name}}"
HEADERS: Mapping[str, str] = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Status": "STATUS",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
}
_UNKNOWN = "N/A"
SIZED = "{{.Name}}\t{{.Links}}\t{{.Size}}"
"""The table of `system df -v`."""


def row(volume: pb.Volume, *, size: bool = False) -> dict[str, Any]:
    """Make a row of `volume ls`."""
    return {
        "Name": volume.name,
        "Driver": volume.driver,
        "Scope": "local",
        "Mountpoint": volume.mountpoint,
        "Labels": label_list(volume.labels),
        "Label": lambda name: volume.labels.get(name, ""),
        "Links": str(volume.container_count) if size else _UNKNOWN,
        "Size": units.render_bytes(volume.size_bytes, digits=4)
        if size and not _elsewhere(volume)
        else _UNKNOWN,
        "Status": _UNKNOWN,
        "Availability": _UNKNOWN,
        "Group": _UNKNOWN,
    }


def inspect(volume: pb.Volume, *, size: bool = False) -> dict[str, Any]:
    """Show a volume."""
    shown: dict[str, Any] = {
        "CreatedAt": rfc3339(volume.created_at),
        "Driver": volume.driver,
        "Labels": OpenMap(sorted(volume.labels.items())) or NO_MAP,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": OpenMap(sorted(volume.options.items())) or NO_MAP,
        "Scope": "local",
        "Anonymous": volume.anonymous,
    }
    if size:
        shown["UsageData"] = {"RefCount": volume.container_count, "Size": volume.size_bytes}
    return shown


def _elsewhere(volume: pb.Volume) -> bool:
    """Whether its content is mounted, and takes no room of the volume's own."""
    return "device" in volume.options or "type" in volume.options
