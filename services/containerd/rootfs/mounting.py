"""Mounting what imaged says is a container's root file system.

Runs in the host's mount namespace, below the shared mount of the bundles. Blocks: for worker threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls, trees
from services.containerd.model import inline
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.containerd.model.idmap import IdMap
    from services.containerd.model.spec import InlineFile

_PAGE_BYTES = 4095  # all options of mount(2) together
_NO_SUCH_CALL = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
_FLAGS = {"ro": syscalls.MS_RDONLY, "nosuid": syscalls.MS_NOSUID, "nodev": syscalls.MS_NODEV}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootMount:
    """One mount, as the snapshot service describes it."""

    kind: str
    source: str = ""
    options: tuple[str, ...] = ()
    lower_dirs: tuple[str, ...] = ()
    upper_dir: str = ""
    work_dir: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The user namespace whose root owns a root file system.

    Attributes:
        ids: Its ids.
        namespace: Descriptor of the namespace.
        workspace: An own directory for mounts that are needed for a moment; it need not exist.
    """

    ids: IdMap
    namespace: int
    workspace: Path


def mount_root(mounts: Sequence[RootMount], target: Path, owner: Owner | None = None) -> None:
    """Mount them at `target`, in order; with an `owner`, what the image gives to root is that one's.

    Raises:
        errors.Unsupported: A kind of mount that we do not know, or layers that cannot be shown with other ids.
        errors.Internal: The kernel refused; nothing of it stays mounted.
    """
    done = 0
    try:
        for mount in mounts:
            if owner is None:
                _mount(mount, target)
            else:
                _mount_owned(mount, target, owner)
            done += 1
    except OSError as exc:
        for _ in range(done):
            with contextlib.suppress(OSError):
                syscalls.umount(target)
        raise errors.Internal(
            f"cannot mount the root file system: {exc.strerror}", reason="ROOTFS_MOUNT_FAILED"
        ) from exc


def release_workspace(workspace: Path) -> None:
    """Take down what a mounting that was cut off has left in its workspace."""
    if not workspace.is_dir():
        return
    for place in workspace.iterdir():
        with contextlib.suppress(OSError):
            syscalls.umount(place, syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)


def mount_files(files: Iterable[InlineFile], directory: Path, ids: IdMap | None = None) -> dict[str, str]:
    """Put files into a read-only memory file system at `directory`; return where each is, by its path in the container.

    They are secrets: they touch no disk, and the directory cannot be entered by anyone but root.

    Raises:
        errors.FailedPrecondition: The content of one is gone (FILES_GONE); nothing is mounted.
    """
    contents = [(file, inline.content(file)) for file in files]
    directory.mkdir(mode=0o700, exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("tmpfs", directory, "tmpfs", flags, "mode=0700,size=64m")
    places: dict[str, str] = {}
    for number, (file, data) in enumerate(contents):
        place = directory / str(number)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            uid, gid = (file.uid, file.gid) if ids is None else (ids.to_host(file.uid), ids.to_host(file.gid))
            os.fchown(fd, uid, gid)
            os.fchmod(fd, file.mode or 0o444)
        places[file.path] = str(place)
    syscalls.mount("tmpfs", directory, "", flags | syscalls.MS_REMOUNT | syscalls.MS_RDONLY, "mode=0700")
    return places


def _mount(mount: RootMount, target: Path) -> None:
    if mount.kind == "overlay":
        _mount_overlay(mount, target)
    elif mount.kind == "bind":
        syscalls.mount(mount.source, target, "", syscalls.MS_BIND | syscalls.MS_REC)
        flags = _flags(mount.options)
        if flags:
            syscalls.mount("", target, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | flags)
    else:
        raise errors.Unsupported(
            f"the snapshot service wants a mount of kind {mount.kind!r}", reason="MOUNT_UNKNOWN"
        )


def _mount_owned(mount: RootMount, target: Path, owner: Owner) -> None:
    """Mount for a user namespace.

    The kernel cannot shift the ids of an overlay, but those of its lower layers: each is mounted with the namespace's
    ids, and the overlay, which keeps mounts of its own of them, made of these. The upper directory holds the node's
    ids, as the container's processes write them.
    """
    if mount.kind == "bind":
        _idmapped(mount.source, target, owner)
        if flags := _flags(mount.options):
            syscalls.mount("", target, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | flags)
        return
    owner.workspace.mkdir(mode=0o700, exist_ok=True)
    release_workspace(owner.workspace)
    try:
        lowers: list[str] = []
        for number, lower in enumerate(mount.lower_dirs):
            place = owner.workspace / str(number)
            place.mkdir(exist_ok=True)
            _idmapped(lower, place, owner)
            lowers.append(str(place))
        if mount.upper_dir:
            _give(mount.upper_dir, owner.ids)
        _mount(replace(mount, lower_dirs=tuple(lowers)), target)
    finally:
        release_workspace(owner.workspace)


def _idmapped(source: str, target: Path, owner: Owner) -> None:
    try:
        trees.bind_with_ids(source, target, owner.namespace)
    except OSError as exc:
        if exc.errno not in _NO_SUCH_CALL:
            raise
        raise errors.Unsupported(
            f"user namespaces need layers that can be mounted with other ids; the file system of {source} or this"
            " kernel cannot do that",
            reason="USERNS_IDMAP_UNSUPPORTED",
        ) from exc


def _give(directory: str, ids: IdMap) -> None:
    """Give the top of an upper directory, which is the container's `/`, to whom it belongs inside."""
    found = Path(directory).stat()
    if not (ids.holds(found.st_uid) and ids.holds(found.st_gid)):
        os.chown(directory, ids.to_host(found.st_uid), ids.to_host(found.st_gid))


class _Kernel:
    """What has turned out about this kernel.

    Attributes:
        takes_layers_one_by_one: Whether overlay knows `lowerdir+`: since Linux 6.8. Those before say so only when all
            is to be mounted, and log every attempt: one is enough.
    """

    takes_layers_one_by_one = True


_kernel = _Kernel()


def _mount_overlay(mount: RootMount, target: Path) -> None:
    """Use the new mount calls, which take 500 layers, where they take them one by one."""
    if not _kernel.takes_layers_one_by_one:
        _mount_overlay_classic(mount, target)
        return
    try:
        _mount_overlay_new(mount, target)
    except OSError as exc:
        if exc.errno not in _NO_SUCH_CALL:
            raise
        try:
            _mount_overlay_classic(mount, target)
        except OSError:
            raise exc from None  # so it is not the way of calling
        _kernel.takes_layers_one_by_one = False


def _mount_overlay_new(mount: RootMount, target: Path) -> None:
    with contextlib.closing(syscalls.FileSystem("overlay")) as overlay:
        for lower in mount.lower_dirs:
            overlay.set("lowerdir+", lower)
        if mount.upper_dir:
            overlay.set("upperdir", mount.upper_dir)
            overlay.set("workdir", mount.work_dir)
        for option in mount.options:
            name, separator, value = option.partition("=")
            if separator:
                overlay.set(name, value)
            elif option not in _FLAGS:
                overlay.set_flag(option)
        attributes = syscalls.MS_RDONLY if "ro" in mount.options or not mount.upper_dir else 0
        overlay.mount(target, attributes)


def _mount_overlay_classic(mount: RootMount, target: Path) -> None:
    """Put all options into one string, which has to fit into a page: with their paths, some 60 layers do.

    More are named by descriptors: 127, as many as an image of docker's may have, take half a page.
    """
    options = []
    if mount.upper_dir:
        options += [f"upperdir={mount.upper_dir}", f"workdir={mount.work_dir}"]
    options += [option for option in mount.options if option not in _FLAGS]
    flags = _flags(mount.options) | (0 if mount.upper_dir else syscalls.MS_RDONLY)
    with contextlib.ExitStack() as opened:
        lowers = [_escape(lower) for lower in mount.lower_dirs]
        if len(",".join([_lowerdir(lowers), *options]).encode()) > _PAGE_BYTES:
            lowers = []
            for lower in mount.lower_dirs:
                fd = os.open(lower, os.O_PATH | os.O_CLOEXEC)
                opened.callback(os.close, fd)
                lowers.append(f"/proc/self/fd/{fd}")
        text = ",".join([_lowerdir(lowers), *options])
        if len(text.encode()) > _PAGE_BYTES:
            raise errors.Unsupported(
                f"the image has {len(lowers)} layers: before version 6.8 the kernel cannot mount so many;"
                " build it with fewer",
                reason="TOO_MANY_LAYERS",
            )
        syscalls.mount("overlay", target, "overlay", flags, text)


def _lowerdir(lowers: Sequence[str]) -> str:
    return f"lowerdir={':'.join(lowers)}"


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _flags(options: Iterable[str]) -> int:
    flags = 0
    for option in options:
        flags |= _FLAGS.get(option, 0)
    return flags
