"""What a directory tree has changed against the tree below it.

Two walks, one per kind of storage: over the upper directory of an overlay mount, whose very content is the change, and
over a whole tree in comparison with another. Both yield changes by path, a directory before what is in it; a directory
that only holds a change is itself listed as modified, as Docker does.

The tree may belong to a running container. So the walk descends by descriptors and follows no link: a container that
swaps a directory for a link while we walk gains nothing.
"""

from __future__ import annotations

import enum
import itertools
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.layers import whiteout
from services.imaged.layers.tree import DIRECTORY_FLAGS
from services.kit.tar.ids import IDENTITY
from services.kit.tar.pack import read_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.imaged.layers.lower import Found, LowerTree
    from services.imaged.layers.mount_points import MountPoints
    from services.kit.tar.ids import IdMap
    from services.kit.tar.path import Parts


class ChangeKind(enum.Enum):
    """What became of a path."""

    ADDED = "A"
    MODIFIED = "C"
    DELETED = "D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed path. `directory` is open until the walk goes on."""

    kind: ChangeKind
    parts: Parts
    directory: int = -1
    """Descriptor of the directory that holds it; -1 for what is deleted."""
    status: os.stat_result | None = None
    """None for what is deleted."""
    is_opaque: bool = False
    """A directory that replaces all that was below it; what it hides is then not listed by `walk_overlay`."""


def walk_overlay(
    upper: int, lower: LowerTree, points: MountPoints, ids: IdMap = IDENTITY
) -> Iterator[Change]:
    """Yield the changes in the upper directory of an overlay mount (a descriptor) against its lower layers.

    What is in the upper directory has the ids on the outside of `ids`, the lower layers those on the inside.
    """
    return _walk_upper(upper, (), lower, points, ids, below_new=False)


def walk_trees(new: int, old: int, points: MountPoints) -> Iterator[Change]:
    """Yield the changes that make the tree `old` the tree `new` (descriptors)."""
    return _walk_both(new, old, (), points)


def _walk_upper(
    directory: int, parts: Parts, lower: LowerTree, points: MountPoints, ids: IdMap, *, below_new: bool
) -> Iterator[Change]:
    for name in _names(directory):
        here = (*parts, name)
        status = _lstat(directory, name)
        if status is None or stat.S_ISSOCK(status.st_mode):
            continue
        if whiteout.is_overlay_whiteout(status):
            if not below_new:
                yield Change(kind=ChangeKind.DELETED, parts=here)
            continue
        found = None if below_new else lower.find(here)
        kind = ChangeKind.MODIFIED if found else ChangeKind.ADDED
        if not stat.S_ISDIR(status.st_mode):
            if found is not None or not points.is_one(here, status):
                yield Change(kind=kind, parts=here, directory=directory, status=status)
            continue
        with _opened(directory, name) as inner:
            if inner is None:
                continue
            replaces = found is not None and (not found.is_directory or whiteout.is_opaque(inner))
            is_new = found is None or replaces
            inside = _walk_upper(inner, here, lower, points, ids, below_new=is_new)
            first = next(inside, None)
            holds_point = points.holds_one(here)
            if first is None and _is_bare(status, found, ids, is_new=is_new, holds_point=holds_point):
                continue
            yield Change(
                kind=kind,
                parts=here,
                directory=directory,
                status=status,
                is_opaque=replaces and found is not None and found.is_directory,
            )
            if first is not None:
                yield from itertools.chain((first,), inside)


def _is_bare(
    status: os.stat_result, found: Found | None, ids: IdMap, *, is_new: bool, holds_point: bool
) -> bool:
    """Whether an empty directory is no change: there for a mount point, copied up for a change undone, or looked at."""
    if found is None:
        return holds_point
    return not is_new and _same(status, found.status, ids, but_time=holds_point)


def _walk_both(new: int, old: int, parts: Parts, points: MountPoints) -> Iterator[Change]:
    names_new, names_old = _names(new), set(_names(old))
    for name in sorted({*names_new, *names_old}):
        here = (*parts, name)
        status = _lstat(new, name)
        before = _lstat(old, name) if name in names_old else None
        if status is None or stat.S_ISSOCK(status.st_mode):
            if before is not None:
                yield Change(kind=ChangeKind.DELETED, parts=here)
            continue
        kind = ChangeKind.MODIFIED if before else ChangeKind.ADDED
        is_changed = before is None or not _same(status, before) or _differ_xattrs(new, old, name)
        change = Change(kind=kind, parts=here, directory=new, status=status)
        if not stat.S_ISDIR(status.st_mode):
            if is_changed and not (before is None and points.is_one(here, status)):
                yield change
            continue
        with _opened(new, name) as inner, _opened(old, name) as inner_old:
            if inner is None:
                continue
            if inner_old is None:
                yield from _new_directory(change, inner, points)
                continue
            inside = _walk_both(inner, inner_old, here, points)
            first = next(inside, None)
            if is_changed and first is None and before is not None and points.holds_one(here):
                is_changed = not _same(status, before, but_time=True) or _differ_xattrs(new, old, name)
            if is_changed or first is not None:
                yield change
            if first is not None:
                yield from itertools.chain((first,), inside)


def _new_directory(change: Change, inner: int, points: MountPoints) -> Iterator[Change]:
    """Yield a directory that has none to compare it with, and all that is in it."""
    inside = _walk_new(inner, change.parts, points)
    first = next(inside, None)
    if first is None and change.kind is ChangeKind.ADDED and points.holds_one(change.parts):
        return
    yield change
    if first is not None:
        yield from itertools.chain((first,), inside)


def _walk_new(directory: int, parts: Parts, points: MountPoints) -> Iterator[Change]:
    for name in _names(directory):
        here = (*parts, name)
        status = _lstat(directory, name)
        if status is None or stat.S_ISSOCK(status.st_mode):
            continue
        change = Change(kind=ChangeKind.ADDED, parts=here, directory=directory, status=status)
        if not stat.S_ISDIR(status.st_mode):
            if not points.is_one(here, status):
                yield change
            continue
        with _opened(directory, name) as inner:
            if inner is not None:
                yield from _new_directory(change, inner, points)


def _same(
    status: os.stat_result, before: os.stat_result, ids: IdMap = IDENTITY, *, but_time: bool = False
) -> bool:
    is_same = (
        status.st_mode == before.st_mode
        and ids.inside(status.st_uid, status.st_gid) == (before.st_uid, before.st_gid)
        and (but_time or status.st_mtime_ns == before.st_mtime_ns)
        and status.st_rdev == before.st_rdev
    )
    return is_same and (stat.S_ISDIR(status.st_mode) or status.st_size == before.st_size)


def _differ_xattrs(new: int, old: int, name: bytes) -> bool:
    return read_xattrs(new, name, _of_the_file) != read_xattrs(old, name, _of_the_file)


def _of_the_file(attribute: str) -> bool:
    """Whether an extended attribute belongs to the file, not to the overlay file system."""
    return not whiteout.is_overlay_xattr(attribute)


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _lstat(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


@contextmanager
def _opened(directory: int, name: bytes) -> Iterator[int | None]:
    """Open a directory; None if it is not there any more or not a directory."""
    try:
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
