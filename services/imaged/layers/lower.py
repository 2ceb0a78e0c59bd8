"""The layers below one that is being unpacked, seen as one tree, as the overlay file system will show it.

Needed for what a layer does not say itself: the attributes of a directory that it only implies, and a link or a file of
a lower layer that one of its entries goes through.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.layers import whiteout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kit.tar.path import Parts


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the merged tree: its status, and where the topmost layer that has it keeps it."""

    status: os.stat_result
    path: bytes

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)


class LowerTree:
    """The merged view of layer directories, top first. They must not change while it is in use."""

    def __init__(self, directories: Sequence[bytes]) -> None:
        self._directories = tuple(directories)

    def find(self, parts: Parts) -> Found | None:
        """Return what is at a path, links not followed at any component; None if there is nothing."""
        layers = list(self._directories)
        found: Found | None = None
        if not parts:
            return Found(os.lstat(layers[0]), layers[0]) if layers else None
        for index, part in enumerate(parts):
            found, layers = _step(layers, part)
            is_last = index == len(parts) - 1
            if found is None or (not is_last and not found.is_directory):
                return None
        return found

    def names(self, parts: Parts) -> set[bytes]:
        """Return the names in a directory of the merged tree."""
        layers = list(self._directories)
        for part in parts:
            _, layers = _step(layers, part)
        names: set[bytes] = set()
        hidden: set[bytes] = set()
        for layer in layers:
            with os.scandir(layer) as entries:
                for entry in entries:
                    if entry.name in names or entry.name in hidden:
                        continue
                    is_gone = whiteout.is_overlay_whiteout(entry.stat(follow_symlinks=False))
                    (hidden if is_gone else names).add(entry.name)
        return names


def _step(layers: Sequence[bytes], part: bytes) -> tuple[Found | None, list[bytes]]:
    """Descend by one component: what is there, and the directories that merge there if it is one."""
    found: Found | None = None
    merged: list[bytes] = []
    for layer in layers:
        path = layer + b"/" + part  # every component above is a real directory: no link is followed here
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if whiteout.is_overlay_whiteout(status):
            break
        is_directory = stat.S_ISDIR(status.st_mode)
        if found is None:
            found = Found(status, path)
        if not is_directory:
            break  # below a file nothing merges; below a directory, a file ends it
        merged.append(path)
        if whiteout.is_opaque(path):
            break
    return found, merged
