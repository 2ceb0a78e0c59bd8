"""Mounts, and the files that secrets and configs become."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2
from services.swarmd.api.checks.refusal import check_labels, check_text, invalid, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1 import objects_pb2

ID_MAX = 2**32 - 2
FILE_MODE_MAX = 0o7777
PATH_CHARS_MAX = 4096

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_PROPAGATION = frozenset({"", "rprivate", "private", "rshared", "shared", "rslave", "slave"})
_RECURSIVE = frozenset({"", "enabled", "disabled", "writable", "readonly"})
_NUMBER = re.compile(r"\d{1,10}")


def check_mounts(field: str, mounts: Iterable[spec_pb2.Mount]) -> None:
    """Check mounts; no two may have one target."""
    targets: set[str] = set()
    for mount in mounts:
        target = _check_path(f"{field}.target", mount.target)
        if target == "/":
            raise invalid(f"{field}.target", "the root of the container cannot be mounted over")
        if target in targets:
            raise invalid(f"{field}.target", f"duplicate mount point {shown(mount.target)}")
        targets.add(target)
        _check_mount(field, mount)


def check_references(
    field: str, references: Iterable[objects_pb2.FileReference], directory: str, targets: set[str]
) -> None:
    """Check how a task uses secrets or configs; `targets` collects the paths that are taken."""
    for reference in references:
        if not reference.id and not reference.name:
            raise invalid(field, "a reference names neither an id nor a name")
        path = reference.target or reference.name
        check_text(f"{field}.target", path)
        target = posixpath.normpath(posixpath.join(directory, path))
        if not path or path.endswith("/") or ".." in path.split("/") or target == "/":
            raise invalid(f"{field}.target", f"{shown(path)} is not the path of a file")
        if target in targets:
            raise invalid(f"{field}.target", f"two secrets or configs would be written to {shown(target)}")
        targets.add(target)
        for name, number in (("uid", reference.uid), ("gid", reference.gid)):
            if number and (_NUMBER.fullmatch(number) is None or int(number) > ID_MAX):
                raise invalid(f"{field}.{name}", f"{shown(number)} is not a number of a user or group")
        if reference.mode > FILE_MODE_MAX:
            raise invalid(f"{field}.mode", f"{oct(reference.mode)} is more than permission bits")


def _check_mount(field: str, mount: spec_pb2.Mount) -> None:
    check_text(f"{field}.source", mount.source)
    match mount.type:
        case spec_pb2.MOUNT_TYPE_BIND:
            _check_path(f"{field}.source", mount.source)
        case spec_pb2.MOUNT_TYPE_VOLUME:
            if mount.source and _VOLUME.fullmatch(mount.source) is None:
                raise invalid(
                    f"{field}.source",
                    f"{shown(mount.source)} is not a name of a volume: letters, digits, and _ . - after the first",
                )
            check_labels(f"{field}.volume_labels", mount.volume_labels)
            _check_subpath(f"{field}.volume_subpath", mount.volume_subpath)
        case spec_pb2.MOUNT_TYPE_TMPFS:
            if mount.source:
                raise invalid(f"{field}.source", "a tmpfs has no source")
            if mount.tmpfs_mode > FILE_MODE_MAX:
                raise invalid(f"{field}.tmpfs_mode", f"{oct(mount.tmpfs_mode)} is more than permission bits")
        case spec_pb2.MOUNT_TYPE_IMAGE:
            if not mount.source:
                raise invalid(f"{field}.source", "the image is missing")
            _check_subpath(f"{field}.image_subpath", mount.image_subpath)
        case _:
            raise invalid(f"{field}.type", f"{mount.type} is no type of mount")
    if mount.propagation not in _PROPAGATION:
        raise invalid(f"{field}.propagation", f"{shown(mount.propagation)} is not known")
    if mount.bind_recursive not in _RECURSIVE:
        raise invalid(f"{field}.bind_recursive", f"{shown(mount.bind_recursive)} is not known")


def _check_path(field: str, path: str) -> str:
    """Return an absolute path without its detours."""
    check_text(field, path)
    if not path.startswith("/") or len(path) > PATH_CHARS_MAX:
        raise invalid(field, f"{shown(path)} is not an absolute path")
    return posixpath.normpath("/" + path.lstrip("/"))


def _check_subpath(field: str, path: str) -> None:
    check_text(field, path)
    if path.startswith("/") or ".." in path.split("/"):
        raise invalid(field, f"{shown(path)} must be a path below, without ..")
