"""Packs a file or a tree of a container or volume."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.files.archive import root as roots
from services.containerd.files.archive.kernel_views import Views
from services.kit import errors
from services.kit.tar import walk
from services.kit.tar.entry import show
from services.kit.tar.ids import IDENTITY, IdMap
from services.kit.tar.pack import Packer

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_OVERLAY = ("trusted.overlay.", "user.overlay.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How to pack."""

    follow: bool = False
    """Whether a link at the end of the path is followed."""
    one_file_system: bool = False
    """Whether the content of other file systems, mounted below the top, is left out."""
    hollow: tuple[str, ...] = ()
    """Directories, by path in the root, whose content is left out unless the path to pack lies in them."""
    with_top: bool = True
    """Whether the top has an entry of its own where it is the root; else names begin with those in it."""
    ids: IdMap = IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What is at a path; `name` is that of its archive's first entry."""

    name: bytes
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: bytes = b""


def look(root: int, path: bytes, *, follow: bool = False) -> Stat:
    """Return what is at a path of the root; raises as `pack` does."""
    cleaned = roots.clean(path)
    with roots.find(root, cleaned, follow=follow) as found:
        return _stat_of(found, cleaned)


def pack(
    root: int,
    path: bytes,
    write: Callable[[bytes], object],
    packing: Packing,
    *,
    on_found: Callable[[Stat], object] = lambda _: None,
) -> None:
    """Write the archive of what is at `path` through `write`.

    Names in it begin with the last component of the path; with `.` if the path ends in one. What the kernel makes up
    (/proc, /sys and their like) is left out but for the directory, and so are sockets.

    Args:
        root: Descriptor of the root; O_PATH is enough.
        path: In it.
        write: Takes each part of the archive.
        packing: How.
        on_found: Told what is at the path, before anything is written.

    Raises:
        errors.NotFound: There is nothing (PATH_NOT_FOUND).
        errors.Invalid: The path is wrong, or lies in a view of the kernel (PATH_NOT_A_FILE).
        errors.Unsupported: The tree is too deep or too large (TREE_TOO_DEEP, TREE_TOO_LARGE).
    """
    cleaned, views = roots.clean(path), Views()
    with roots.find(root, cleaned, follow=packing.follow) as found:
        if views.has(found.directory, os.fstat(found.directory)):
            raise _not_a_file(cleaned)
        stat = _stat_of(found, cleaned)
        packer = Packer(
            write,
            takes_xattr=takes_xattr,
            whole_seconds=False,
            holes=True,
            owner=lambda status: packing.ids.inside(status.st_uid, status.st_gid),
            xattr=packing.ids.xattr_inside,
        )
        if not found.is_directory:
            on_found(stat)
            packer.add(found.directory, found.name, found.status, stat.name)
            packer.finish()
            return
        try:
            top = os.open(found.name, walk.DIRECTORY_FLAGS, dir_fd=found.directory)
        except OSError as exc:
            raise roots.path_error(exc, cleaned) from exc
    try:
        status = os.fstat(top)
        if views.has(top, status):
            raise _not_a_file(cleaned)
        on_found(stat)
        hollow = _identities(root, packing.hollow) - {(status.st_dev, status.st_ino)}

        def enters(directory: int, inner: os.stat_result) -> bool:
            if (inner.st_dev, inner.st_ino) in hollow:
                return False
            elsewhere = inner.st_dev != status.st_dev
            return not (elsewhere and (packing.one_file_system or views.has(directory, inner)))

        name = b"" if stat.name == b"/" and not packing.with_top else stat.name
        walk.add_tree(packer, top, name if name != b"/" else b".", enters)
        packer.finish()
    finally:
        os.close(top)


def takes_xattr(name: str) -> bool:
    """Return whether an extended attribute is the file's: those of the overlay file system steer that."""
    return not name.startswith(_OF_OVERLAY)


def _stat_of(found: roots.Found, path: bytes) -> Stat:
    own = found.name if found.name != b"." else roots.base_name(path)
    return Stat(
        name=own,
        size_bytes=found.status.st_size,
        mode=found.status.st_mode,
        mtime_ns=found.status.st_mtime_ns,
        link_target=found.link_target,
    )


def _identities(root: int, directories: tuple[str, ...]) -> set[tuple[int, int]]:
    """Return what identifies directories, whatever path leads to them."""
    identities: set[tuple[int, int]] = set()
    for path in directories:
        try:
            descriptor = roots.open_directory(root, path.encode())
        except OSError:
            continue
        status = os.fstat(descriptor)
        identities.add((status.st_dev, status.st_ino))
        os.close(descriptor)
    return identities


def _not_a_file(path: bytes) -> errors.Invalid:
    return errors.Invalid(
        f"{show(path)} is a view of the kernel and holds no files to copy; read it with `exec`",
        reason="PATH_NOT_A_FILE",
    )
