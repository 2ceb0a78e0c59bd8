"""Mounts as `inspect` prints them: what -v says as Binds, what only --mount can say as Mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.format.values import NO_LIST, NO_MAP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.format.values import Nil

_KINDS = {
    pb.MOUNT_TYPE_BIND: "bind",
    pb.MOUNT_TYPE_VOLUME: "volume",
    pb.MOUNT_TYPE_TMPFS: "tmpfs",
    pb.MOUNT_TYPE_IMAGE: "image",
}


def kind(mount_type: pb.MountType.ValueType) -> str:
    """Name a type of mount."""
    return _KINDS.get(mount_type, "volume")


def binds(mounts: Iterable[pb.Mount]) -> list[str] | Nil:
    """Write what -v can say as it says it."""
    return [bind(mount) for mount in mounts if _is_short(mount) and mount.source] or NO_LIST


def others(mounts: Iterable[pb.Mount]) -> list[dict[str, Any]] | Nil:
    """Show what only --mount can say; anonymous volumes and memory are shown elsewhere."""
    return [
        _mount(mount) for mount in mounts if not _is_short(mount) and mount.type != pb.MOUNT_TYPE_TMPFS
    ] or NO_LIST


def bind(mount: pb.Mount) -> str:
    """Write a mount as -v takes it."""
    options = [
        *(["ro"] if mount.read_only else []),
        *(["nocopy"] if mount.volume_no_copy else []),
        *([mount.propagation] if mount.propagation else []),
    ]
    return ":".join([mount.source, mount.target, *([",".join(options)] if options else [])])


def _is_short(mount: pb.Mount) -> bool:
    if mount.type == pb.MOUNT_TYPE_BIND:
        return mount.bind_create_source and not mount.bind_recursive
    more = mount.volume_subpath or mount.volume_labels or mount.volume_driver or mount.volume_options
    return mount.type == pb.MOUNT_TYPE_VOLUME and not more


def _mount(mount: pb.Mount) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": kind(mount.type), "Source": mount.source, "Target": mount.target}
    if mount.read_only:
        shown["ReadOnly"] = True
    if mount.type == pb.MOUNT_TYPE_BIND:
        shown["BindOptions"] = {
            "Propagation": mount.propagation or "rprivate",
            "NonRecursive": mount.bind_recursive == "disabled",
            "CreateMountpoint": mount.bind_create_source,
            "ReadOnlyNonRecursive": mount.bind_recursive == "writable",
            "ReadOnlyForceRecursive": mount.bind_recursive == "readonly",
        }
    elif mount.type == pb.MOUNT_TYPE_VOLUME:
        shown["VolumeOptions"] = {
            "NoCopy": mount.volume_no_copy,
            "Labels": dict(sorted(mount.volume_labels.items())) or NO_MAP,
            "Subpath": mount.volume_subpath,
            "DriverConfig": {
                "Name": mount.volume_driver,
                "Options": dict(sorted(mount.volume_options.items())) or NO_MAP,
            },
        }
    elif mount.image_subpath:
        shown["ImageOptions"] = {"Subpath": mount.image_subpath}
    return shown
