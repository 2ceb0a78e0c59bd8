"""The vfs driver: every snapshot is a whole tree, made by copying its parent's.

Slow and large, and it works on every file system and inside of other containers: what is left where overlayfs does not.

    <name>/fs     the whole tree
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.imaged import disk
from services.imaged.layers.jobs import Comparison
from services.imaged.snapshots.directories import Directories
from services.imaged.snapshots.ports import Mount
from services.kit import subproc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.kit.seams import Clock

_COPY_TIMEOUT_S = 3600.0
_DISK_FULL_MESSAGES = (b"No space left on device", b"Disk quota exceeded")


class VfsDriver:
    """A `Driver` on any file system."""

    name = "vfs"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._directories = Directories(root)

    async def create(self, directory: str, parents: Sequence[str]) -> None:
        """Make a copy of the nearest parent: owners, modes, times, links, devices and attributes included."""
        path = self._directories.path(directory)
        path.mkdir(mode=0o700)
        files = path / "fs"
        if not parents:
            files.mkdir(mode=0o755)
            files.chmod(0o755)
            return
        disk.Reserve(path).check()
        try:
            await subproc.run(
                [
                    "cp",
                    "-a",
                    "--reflink=auto",
                    "--sparse=always",
                    "-T",
                    "--",
                    self.target(parents[0]),
                    os.fspath(files),
                ],
                timeout_s=_COPY_TIMEOUT_S,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subproc.Failed as failed:
            if any(message in failed.completed.stderr for message in _DISK_FULL_MESSAGES):
                raise disk.full() from failed
            raise
        disk.Reserve(path).check()

    def mounts(self, directory: str, parents: Sequence[str], *, read_only: bool) -> tuple[Mount, ...]:
        """Return a bind mount of the tree."""
        del parents
        access = "ro" if read_only else "rw"
        return (Mount(type="bind", source=self.target(directory), options=("rbind", access)),)

    def target(self, directory: str) -> str:
        """Return the tree."""
        return os.fspath(self._directories.path(directory) / "fs")

    def lower_dirs(self, parents: Sequence[str]) -> tuple[str, ...] | None:
        """Say that a directory holds everything."""
        del parents
        return None

    def comparison(self, directory: str, parents: Sequence[str]) -> Comparison:
        """Compare the tree with the nearest parent's."""
        return Comparison(new_dir=self.target(directory), old_dir=self.target(parents[0]) if parents else "")

    def directories(self) -> set[str]:
        """Return the names of all directories."""
        return self._directories.names()

    def discard(self, directory: str) -> None:
        """Move a directory to the trash."""
        self._directories.discard(directory)

    async def purge(self, clock: Clock, is_urgent: Callable[[], bool]) -> None:
        """Empty the trash."""
        await self._directories.purge(clock, is_urgent)
