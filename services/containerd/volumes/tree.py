"""Walking, copying and removing directory trees that somebody else has filled: no link in them is followed.

Every directory is opened below the root of the tree as if that were `/` (openat2), every entry by its name in an open
directory: a tree that changes meanwhile spoils its copy at worst. No depth of a tree uses up our stack or descriptors.
All of this blocks: for worker threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.containerd.volumes import entries
from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.kit.tar.ids import IdMap

_BLOCK_BYTES = 512
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Yield an open directory."""
    fd = os.open(directory, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def copy(source: int, target: int, ids: IdMap = IDENTITY, *, check: Callable[[], None] = lambda: None) -> int:
    """Copy what is in one directory into another, and its own attributes too; return the number of entries.

    Kept are owner, mode, times, extended attributes (with ACLs and capabilities), hard links, holes and special files.

    Args:
        source: Open directory.
        target: Open directory; empty, and nobody else writes into it.
        ids: The copies have the ids on the inside of it.
        check: Called before each entry; what it raises ends the copy.

    Raises:
        OSError: Something cannot be read or written.
    """
    links: dict[tuple[int, int], str] = {}
    pending, done, count = [""], [], 0
    while pending:
        path = pending.pop()
        with contextlib.ExitStack() as stack:
            try:
                inner = stack.enter_context(_below(source, path))
            except (FileNotFoundError, NotADirectoryError):
                continue  # changed meanwhile
            outer = stack.enter_context(_below(target, path))
            for name, found in _entries(inner):
                check()
                count += 1
                full = f"{path}/{name}" if path else name
                if stat.S_ISDIR(found.st_mode):
                    os.mkdir(name, 0o700, dir_fd=outer)
                    pending.append(full)
                    continue
                first = links.setdefault((found.st_dev, found.st_ino), full) if found.st_nlink > 1 else full
                if first != full:
                    os.link(first, name, src_dir_fd=target, dst_dir_fd=outer, follow_symlinks=False)
                else:
                    entries.copy(inner, outer, name, found, ids)
        done.append(path)
    for path in reversed(done):  # what comes into a directory changes its times
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            _below(source, path) as inner,
            _below(target, path) as outer,
        ):
            entries.copy_attributes(inner, outer, ids)
    return count


def size_bytes(directory: Path) -> int:
    """Return the bytes of the disk that a directory takes: its blocks, several names of one file counted once.

    What cannot be read, or goes meanwhile, counts nothing.
    """
    total = 0
    counted: set[tuple[int, int]] = set()
    pending = [""]
    try:
        root = os.open(directory, _DIRECTORY)
    except OSError:
        return 0
    try:
        while pending:
            path = pending.pop()
            with contextlib.suppress(OSError), _below(root, path) as inner:
                for name, found in _entries(inner):
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(f"{path}/{name}" if path else name)
                    elif found.st_nlink > 1:
                        if (found.st_dev, found.st_ino) in counted:
                            continue
                        counted.add((found.st_dev, found.st_ino))
                    total += found.st_blocks * _BLOCK_BYTES
    finally:
        os.close(root)
    return total


def is_empty(directory: int) -> bool:
    """Return whether an open directory has no entries; the `lost+found` of a fresh file system is none."""
    with os.scandir(directory) as found:
        return all(entry.name == "lost+found" for entry in found)


def empty(directory: int) -> None:
    """Remove what is in an open directory.

    Every directory below is moved up to the first level before its turn comes: a tree deeper than any path can be goes
    like any other.

    Raises:
        OSError: Something resists.
    """
    number = 0
    with os.scandir(directory) as found:
        names = [entry.name for entry in found]
    while names:
        name = names.pop()
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                raise
            os.unlink(name, dir_fd=directory)
            continue
        try:
            for entry, is_directory in _kinds(inner):
                if not is_directory:
                    os.unlink(entry, dir_fd=inner)
                    continue
                moved = f".{number}"
                while os.access(moved, os.F_OK, dir_fd=directory, follow_symlinks=False):
                    number += 1
                    moved = f".{number}"
                number += 1
                os.rename(entry, moved, src_dir_fd=inner, dst_dir_fd=directory)
                names.append(moved)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=directory)


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it; a missing one is fine.

    Raises:
        OSError: Something resists.
    """
    try:
        with opened(directory) as fd:
            empty(fd)
        directory.rmdir()
    except FileNotFoundError:
        return


@contextlib.contextmanager
def _below(root: int, path: str) -> Iterator[int]:
    fd = syscalls.open_in_root(root, path or ".", _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _entries(directory: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as found:
        names = [entry.name for entry in found]
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            yield name, os.stat(name, dir_fd=directory, follow_symlinks=False)


def _kinds(directory: int) -> list[tuple[str, bool]]:
    with os.scandir(directory) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
