"""Places at which a container had something mounted, and what was made on its disk only for that.

Nobody looks through a mount, so what lies under one is the engine's: an empty directory or file to mount on, and the
directories that hold it. It is no change of the container's.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.imaged.layers.lower import LowerTree
    from services.kit.tar.path import Parts

LINKS_MAX = 40
"""As in the kernel."""


class MountPoints:
    """Mount points by their real paths in a tree.

    Args:
        paths: Absolute, as the container was given them.
        lower: The tree below, whose links are followed: a container's `/var/run` is often its `/run`.
    """

    def __init__(self, paths: Iterable[bytes], lower: LowerTree) -> None:
        found = (_resolve(path, lower) for path in paths)
        self._at: frozenset[Parts] = frozenset(parts for parts in found if parts)
        self._above: frozenset[Parts] = frozenset(
            parts[:depth] for parts in self._at for depth in range(1, len(parts))
        )

    def holds_one(self, parts: Parts) -> bool:
        """Return whether a directory is one or lies above one: if nothing else is in it, it may be there for that."""
        return parts in self._at or parts in self._above

    def is_one(self, parts: Parts, status: os.stat_result) -> bool:
        """Return whether a new file is there only to mount on: empty, or a device that the runtime has made."""
        mode = status.st_mode
        is_bare = (stat.S_ISREG(mode) and status.st_size == 0) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        return is_bare and parts in self._at


def _resolve(path: bytes, lower: LowerTree) -> Parts:
    """Return the path without links and dots; nothing for one that leads in circles."""
    resolved: Parts = ()
    pending = path.split(b"/")
    links = 0
    while pending:
        part = pending.pop(0)
        if part in (b"", b"."):
            continue
        if part == b"..":
            resolved = resolved[:-1]
            continue
        found = lower.find((*resolved, part))
        if found is None or not found.is_symlink:
            resolved = (*resolved, part)
            continue
        links += 1
        if links > LINKS_MAX:
            return ()
        target = os.fsencode(Path(os.fsdecode(found.path)).readlink())
        if target.startswith(b"/"):
            resolved = ()
        pending[:0] = target.split(b"/")
    return resolved
