"""Two ways to make what a layer removes disappear: marks for the overlay file system, or removal from a merged tree.

Both honour that a whiteout concerns lower layers only: what the same layer adds under that name stays, in whichever
order the archive has them.
"""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, Protocol

from services.imaged.layers import whiteout

if TYPE_CHECKING:
    from services.imaged.layers.tree import Tree
    from services.kit.tar.path import Parts


class Hiding(Protocol):
    """What the extractor asks for."""

    def remove(self, directory: int, parts: Parts, name: bytes) -> None:
        """Make `name`, in the directory with this descriptor and path, disappear."""
        ...

    def clear(self, directory: int, parts: Parts) -> None:
        """Make all that lower layers have in the directory disappear."""
        ...

    def added(self, parts: Parts) -> None:
        """Take note that the layer itself has put something at this path."""
        ...

    def finish(self) -> None:
        """Do what can only be done when all entries are there."""
        ...


class OverlayHiding:
    """Leaves whiteout devices and opaque marks in the layer's own directory."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._root_is_opaque = False

    def remove(self, directory: int, parts: Parts, name: bytes) -> None:
        """Put a whiteout there, if there is anything to hide.

        If the layer itself has the name, that hides a file already; a directory must become opaque.
        """
        try:
            status = os.lstat(name, dir_fd=directory)
        except FileNotFoundError:
            if self._tree.lower is not None and self._tree.lower.find((*parts, name)) is not None:
                os.mknod(name, stat.S_IFCHR, whiteout.OVERLAY_DEVICE, dir_fd=directory)
            return
        if stat.S_ISDIR(status.st_mode):
            _mark(directory, name)

    def clear(self, directory: int, parts: Parts) -> None:
        """Mark the directory opaque."""
        if parts:
            whiteout.mark_opaque(directory)
        else:
            self._root_is_opaque = True  # the kernel does not heed the mark on a layer's root

    def added(self, parts: Parts) -> None:
        """Nothing to note: the layer's directory holds exactly what it adds."""

    def finish(self) -> None:
        """Hide one by one what an opaque root hides."""
        if not self._root_is_opaque or self._tree.lower is None:
            return
        for name in sorted(self._tree.lower.names(())):
            self.remove(self._tree.root, (), name)


class MergedHiding:
    """Removes things from a directory that holds the merged tree of all layers up to this one."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._added: set[Parts] = set()
        self._holders: set[Parts] = set()

    def remove(self, directory: int, parts: Parts, name: bytes) -> None:
        """Remove the name, but what the layer itself has added at or below it."""
        self._remove(directory, (*parts, name))
        self._tree.forget()

    def clear(self, directory: int, parts: Parts) -> None:
        """Remove all in the directory that the layer has not added itself."""
        for name in os.listdir(directory):
            self._remove(directory, (*parts, os.fsencode(name)))
        self._tree.forget()

    def added(self, parts: Parts) -> None:
        """Protect a path, and the directories it is in, from the layer's own whiteouts."""
        self._added.add(parts)
        parent = parts[:-1]
        while parent and parent not in self._holders:
            self._holders.add(parent)
            parent = parent[:-1]

    def finish(self) -> None:
        """Nothing is left to do."""

    def _remove(self, directory: int, parts: Parts) -> None:
        name = parts[-1]
        try:
            is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)
        except FileNotFoundError:
            return
        if parts not in self._added and parts not in self._holders:
            if is_directory:
                shutil.rmtree(os.fsdecode(name), dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        elif is_directory:
            inner = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
            )
            try:
                for child in os.listdir(inner):  # noqa: PTH208 (a descriptor)
                    self._remove(inner, (*parts, os.fsencode(child)))
            finally:
                os.close(inner)


def _mark(directory: int, name: bytes) -> None:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        whiteout.mark_opaque(inner)
    finally:
        os.close(inner)
