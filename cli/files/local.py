"""This machine's end of a copy: packing what goes, unpacking what comes.

What comes was made by a container and is not trusted: it stays below the directory that it is unpacked into, goes
through no link, and brings neither owners nor setuid bits unless it is asked to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import invalid
from cli.files.plan import Source, Target, asks_for_directory, followed, split
from services.kit.tar import make, walk
from services.kit.tar import path as paths
from services.kit.tar.pack import Packer
from services.kit.tar.source import Source as Stream
from services.kit.tar.unpack import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kit.tar.entry import Entry
    from services.kit.tar.path import Parts

LINKS_MAX = 10


class LocalSource:
    """A file or directory of this machine that is to be packed. Use `describe` first."""

    def __init__(self, path: str, *, follow: bool) -> None:
        self._path = path
        self._follow = follow or asks_for_directory(path)

    def describe(self) -> Source:
        """Return what it is.

        Raises:
            errors.Invalid: It is not there.
        """
        path = self._path or "."
        try:
            found = os.stat(path, follow_symlinks=self._follow)  # noqa: PTH116 (a slash at the end counts)
        except (OSError, ValueError) as exc:
            why = (getattr(exc, "strerror", None) or str(exc)).lower()
            raise invalid("not a directory" if why == "not a directory" else f"lstat {path}: {why}") from None
        content = path.rpartition("/")[2] == "."
        name = "." if content else split(os.path.abspath(path))[1] or "."  # noqa: PTH100 (keeps links)
        return Source(name=name, is_directory=stat.S_ISDIR(found.st_mode))

    def pack(self, name: str, write: Callable[[bytes], object]) -> None:
        """Write its archive, with `name` for its own name."""
        packer = Packer(write, takes_xattr=_is_users, whole_seconds=False, holes=True)
        entry_name = os.fsencode(name)
        path = os.path.realpath(self._path or ".") if self._follow else os.path.abspath(self._path)  # noqa: PTH100
        parent, base = os.path.split(path)
        directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            base_name = os.fsencode(base) or b"."
            status = os.lstat(base_name, dir_fd=directory)
            if not stat.S_ISDIR(status.st_mode):
                packer.add(directory, base_name, status, entry_name)
            else:
                top = os.open(base_name, walk.DIRECTORY_FLAGS, dir_fd=directory)
                try:
                    walk.add_tree(packer, top, entry_name)
                finally:
                    os.close(top)
        except OSError as exc:
            raise invalid(f"cannot read {self._path}: {(exc.strerror or str(exc)).lower()}") from exc
        finally:
            os.close(directory)
        packer.finish()


def look(path: str) -> Target:
    """Return what is at a path that something is to be copied to.

    Raises:
        errors.Invalid: The directory that it would be in is missing, or it is neither file nor directory.
    """
    parent = os.path.dirname(os.path.normpath(path))  # noqa: PTH120
    if parent and not Path(parent).exists():
        raise invalid(f'invalid output path: directory "{os.path.abspath(parent)}" does not exist')  # noqa: PTH100
    current = path
    for _ in range(LINKS_MAX):
        try:
            found = os.lstat(current)
        except FileNotFoundError:
            return Target(path=current, exists=False)
        except (OSError, ValueError) as exc:
            raise invalid(f"stat {path}: {(getattr(exc, 'strerror', None) or str(exc)).lower()}") from None
        if stat.S_ISLNK(found.st_mode):
            current = followed(current, os.readlink(current))  # noqa: PTH115 (a text, not a path yet)
            continue
        if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
            raise invalid(f'invalid output path: "{path}" must be a directory or a regular file')
        return Target(path=current, exists=True, is_directory=stat.S_ISDIR(found.st_mode))
    raise invalid(f"too many symlinks in {path}")


def unpack(next_chunk: Callable[[], bytes], directory: str, *, old: str, new: str, keep_owner: bool) -> None:
    """Unpack an archive into a directory; where its names begin with `old`, they get `new` instead."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        root = os.open(directory, flags)
    except OSError as exc:
        raise invalid(f"cannot open {directory}: {(exc.strerror or str(exc)).lower()}") from None
    old_parts, new_parts = paths.split(os.fsencode(old)), paths.split(os.fsencode(new))

    def rename(parts: Parts) -> Parts:
        same = parts[: len(old_parts)] == old_parts
        return (*new_parts, *parts[len(old_parts) :]) if same else parts

    def open_parent(parts: Parts) -> int:
        current = os.dup(root)
        for part in parts:
            try:
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=current)
            finally:
                os.close(current)
            current = inner
        return current

    def owner(entry: Entry) -> tuple[int, int]:
        if keep_owner:
            return entry.uid, entry.gid
        if not stat.S_ISDIR(entry.mode):
            entry.mode &= ~(stat.S_ISUID | stat.S_ISGID)  # what belongs to us now was not to run as us
        return -1, -1

    maker = make.Maker(count_data=lambda _: None, takes_xattr=_is_users, owner=owner)
    try:
        Unpacker(open_parent, maker, rename=rename).unpack(Stream(next_chunk))
    finally:
        os.close(root)


def _is_users(attribute: str) -> bool:
    return attribute.startswith("user.") and not attribute.startswith("user.overlay.")
