"""Walks a directory tree into a `Packer`, in a fixed order, by descriptors and by a stack of its own.

The tree may be hostile and change meanwhile: a directory that is swapped for a link is left out, and no depth of it
uses up Python's stack.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from services.kit import errors
from services.kit.tar.entry import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.kit.tar.pack import Packer

DEPTH_MAX = 900
"""Directories below each other; each is one open descriptor."""
ENTRIES_MAX = 10_000_000
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def add_tree(
    packer: Packer,
    directory: int,
    name: bytes,
    enters: Callable[[int, os.stat_result], bool] = lambda _directory, _status: True,
) -> None:
    """Write an open directory as `name`, and all that is below it.

    Args:
        packer: Takes the entries.
        directory: Open for reading; stays the caller's.
        name: In the archive; empty writes the content without the directory itself.
        enters: Says of each directory below, by descriptor and status, whether its content is wanted.

    Raises:
        errors.Unsupported: The tree is too deep or too large (TREE_TOO_DEEP, TREE_TOO_LARGE).
        errors.Internal: A directory cannot be read (FILES_IO).
    """
    if name:
        packer.add(directory, b".", os.fstat(directory), name)
    levels: list[tuple[int, bytes, Iterator[bytes]]] = [
        (directory, name + b"/" if name else b"", _names(directory))
    ]
    try:
        while levels:
            current, prefix, names = levels[-1]
            child = next(names, None)
            if child is None:
                levels.pop()
                if levels:
                    os.close(current)
                continue
            inner = _add(packer, current, child, prefix + child, enters)
            if inner is None:
                continue
            levels.append((inner, prefix + child + b"/", _names(inner)))
            if len(levels) > DEPTH_MAX:
                raise errors.Unsupported(
                    f"{show(prefix + child)} is nested deeper than {DEPTH_MAX} directories",
                    reason="TREE_TOO_DEEP",
                )
    finally:
        for current, _, _ in levels[1:]:
            os.close(current)


def _add(
    packer: Packer,
    directory: int,
    name: bytes,
    entry_name: bytes,
    enters: Callable[[int, os.stat_result], bool],
) -> int | None:
    """Write one name; return the descriptor of a directory to go into."""
    if packer.entry_count >= ENTRIES_MAX:
        raise errors.Unsupported(f"there are more than {ENTRIES_MAX} files", reason="TREE_TOO_LARGE")
    try:
        status = os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None  # gone meanwhile
    if not stat.S_ISDIR(status.st_mode):
        packer.add(directory, name, status, entry_name)
        return None
    try:
        inner = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    except OSError as exc:
        if _is_directory(directory, name):
            raise errors.Internal(
                f"cannot read {show(entry_name)}: {exc.strerror}", reason="FILES_IO"
            ) from exc
        return None  # gone or replaced meanwhile
    try:
        status = os.fstat(inner)
        packer.add(inner, b".", status, entry_name)
        wanted = enters(inner, status)
    except BaseException:
        os.close(inner)
        raise
    if not wanted:
        os.close(inner)
        return None
    return inner


def _names(directory: int) -> Iterator[bytes]:
    return iter(sorted(os.fsencode(name) for name in os.listdir(directory)))


def _is_directory(directory: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)
    except OSError:
        return False
