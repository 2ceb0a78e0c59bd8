"""Puts the root of a container together that does not run, as its processes would see it: for a worker process.

The mounts live in a mount namespace that the worker alone has. When it ends, however it does, they are gone. Where one
is put nobody can swap: it is attached to an open directory, not to a path.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls, trees
from services.containerd.rootfs import mounting
from services.containerd.rootfs.inside import Inside
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.files.jobs import Assembly, Bind


def assemble(assembly: Assembly) -> int:
    """Return a descriptor of the root. The calling process is in a mount namespace of its own afterwards.

    Raises:
        errors.BeeyardError: Something cannot be mounted.
    """
    target = Path(assembly.directory)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        mounting.mount_root(assembly.mounts, target)
        for bind in assembly.binds:
            _attach(bind, target)
        if assembly.read_only:
            flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
            syscalls.mount("", target, "", flags)
        return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise errors.Internal(
            f"cannot mount the container's file system: {exc.strerror or exc}", reason="ROOTFS_MOUNT_FAILED"
        ) from exc


def _attach(bind: Bind, root: Path) -> None:
    """Attach one bind; its mount point is made where it is missing, as the container's start would do."""
    tree = trees.clone(bind.source, recursive=bind.recursive)
    try:
        if bind.read_only:
            trees.set_read_only(tree)
        place = _mount_point(root, bind.target, is_directory=stat.S_ISDIR(os.fstat(tree).st_mode))
        try:
            trees.attach(tree, place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


def _mount_point(root: Path, target: str, *, is_directory: bool) -> int:
    parent, _, name = target.rstrip("/").rpartition("/")
    with Inside(root) as inside:
        inside.ensure_directory(target if is_directory else parent or "/")
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not is_directory:
            directory = syscalls.open_in_root(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o755, dir_fd=directory))
            except FileExistsError:
                pass
            finally:
                os.close(directory)
        return syscalls.open_in_root(root_fd, target, os.O_PATH)
    finally:
        os.close(root_fd)
