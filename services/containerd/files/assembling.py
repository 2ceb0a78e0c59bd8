"""Puts the root of a container together that does not run, as its processes would see it: for a worker process.

The mounts live in a mount namespace that the worker alone has. When it ends, however it does, they are gone. Where one
is put nobody can swap: it is attached to an open directory, not to a path.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls, trees
from services.containerd.kernel.credentials import making_files_as
from services.containerd.rootfs import mounting
from services.containerd.rootfs.inside import Inside
from services.containerd.rootfs.mounting import Owner
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.containerd.files.jobs import Assembly, Bind

_LOWERS, _ROOT = "lowers", "root"


def assemble(assembly: Assembly) -> int:
    """Return a descriptor of the root. The calling process is in a mount namespace of its own afterwards.

    Raises:
        errors.BeeyardError: Something cannot be mounted.
    """
    target = Path(assembly.directory)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        with _owner(assembly, target) as owner:
            if owner is not None:
                target = owner.workspace.with_name(_ROOT)
                target.mkdir(mode=0o700)
            mounting.mount_root(assembly.mounts, target, owner)
            for bind in assembly.binds:
                try:
                    _attach(bind, target, owner)
                except OSError as exc:
                    raise errors.FailedPrecondition(
                        f"cannot mount {bind.source} at {bind.target} of the container: {exc.strerror or exc}",
                        reason="MOUNT_FAILED",
                    ) from exc
        if assembly.read_only:
            flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
            syscalls.mount("", target, "", flags)
        return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise errors.Internal(
            f"cannot mount the container's file system: {exc.strerror or exc}", reason="ROOTFS_MOUNT_FAILED"
        ) from exc


@contextlib.contextmanager
def _owner(assembly: Assembly, target: Path) -> Iterator[Owner | None]:
    """Yield who owns the root, with a workspace in a memory file system at `target`; None without a user namespace."""
    if assembly.ids is None:
        yield None
        return
    from services.containerd.userns import pin  # what starts programs is not needed by other jobs

    namespace = pin.opened(assembly.ids)
    try:
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("tmpfs", target, "tmpfs", flags, "mode=0700,size=64k")
        yield Owner(ids=assembly.ids, namespace=namespace, workspace=target / _LOWERS)
    finally:
        os.close(namespace)


def _attach(bind: Bind, root: Path, owner: Owner | None) -> None:
    """Attach one bind; its mount point is made where it is missing, as the container's start would do."""
    shifts = bind.with_ids and owner is not None
    tree = trees.clone(bind.source, recursive=bind.recursive and not shifts)
    try:
        if shifts and owner is not None:
            _show_with_ids(tree, owner)
        if bind.read_only:
            trees.set_read_only(tree)
        uid = owner.ids.start if owner is not None else 0
        place = _mount_point(root, bind.target, uid, is_directory=stat.S_ISDIR(os.fstat(tree).st_mode))
        try:
            trees.attach(tree, place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


def _show_with_ids(tree: int, owner: Owner) -> None:
    """Do what a start does: a file system that cannot show other ids is given to the container as it is."""
    try:
        trees.set_ids(tree, owner.namespace)
    except OSError as exc:
        if exc.errno not in trees.IDS_NOT_SHOWN:
            raise


def _mount_point(root: Path, target: str, uid: int, *, is_directory: bool) -> int:
    parent, _, name = target.rstrip("/").rpartition("/")
    with Inside(root) as inside:
        inside.ensure_directory(target if is_directory else parent or "/", uid=uid, gid=uid)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not is_directory:
            directory = syscalls.open_in_root(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with making_files_as(uid, uid):
                    os.close(os.open(name, flags, 0o755, dir_fd=directory))
            except FileExistsError:
                pass
            finally:
                os.close(directory)
        return syscalls.open_in_root(root_fd, target, os.O_PATH)
    finally:
        os.close(root_fd)
