"""What of a container's specification is another one on its new node. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.move.core.move import VolumeMount


def with_volumes(spec: spec_pb2.ContainerSpec, volumes: Sequence[VolumeMount]) -> spec_pb2.ContainerSpec:
    """Return the specification with the volumes that go along named, wherever they came from.

    On the old node some were made without a name, for a path of the image, or are another container's.
    """
    result = spec_pb2.ContainerSpec()
    result.CopyFrom(spec)
    if not volumes:
        return result
    del result.volumes_from[:]
    mounts = {mount.target.rstrip("/"): mount for mount in result.mounts}
    for volume in volumes:
        mount = mounts.get(volume.target.rstrip("/"))
        if mount is None:
            mount = result.mounts.add(target=volume.target, read_only=volume.read_only)
        mount.type = spec_pb2.MOUNT_TYPE_VOLUME
        mount.source = volume.name
        mount.volume_no_copy = True  # its content comes from the old node
    return result


def without_contents(spec: spec_pb2.ContainerSpec) -> spec_pb2.ContainerSpec:
    """Return the specification with its files empty. They are secrets, and what is made of it is written to a disk."""
    result = spec_pb2.ContainerSpec()
    result.CopyFrom(spec)
    for file in result.files:
        file.ClearField("data")
    return result
