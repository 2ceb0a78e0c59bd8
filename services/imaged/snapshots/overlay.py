"""The overlay driver: one directory per layer, stacked by the kernel.

<name>/fs     the layer's own files, with the kernel's whiteouts
<name>/work   the kernel's scratch directory of an active snapshot
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.imaged.layers.jobs import Comparison
from services.imaged.layers.lower import Found
from services.imaged.layers.tree import copy_attributes
from services.imaged.snapshots.directories import Directories
from services.imaged.snapshots.ports import Mount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.kit.seams import Clock

_OPTIONS = ("index=off", "redirect_dir=off", "metacopy=off")
"""Without these an upper directory may hold references into its lower ones, and its content is no layer any more."""


class OverlayDriver:
    """A `Driver` on any file system that overlayfs takes as its upper one."""

    name = "overlay"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._directories = Directories(root)

    async def create(self, directory: str, parents: Sequence[str]) -> None:
        """Make the layer's directory; its root looks like the root of what is below it."""
        path = self._directories.path(directory)
        path.mkdir(mode=0o700)
        (path / "work").mkdir(mode=0o700)
        files = path / "fs"
        files.mkdir(mode=0o755)
        descriptor = os.open(files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if parents:
                below = os.fsencode(self.target(parents[0]))
                copy_attributes(Found(os.lstat(below), below), descriptor)
            else:
                os.fchmod(descriptor, 0o755)
        finally:
            os.close(descriptor)

    def mounts(self, directory: str, parents: Sequence[str], *, read_only: bool) -> tuple[Mount, ...]:
        """Return an overlay mount, or a bind mount where there is nothing to stack."""
        if not parents:
            access = "ro" if read_only else "rw"
            return (Mount(type="bind", source=self.target(directory), options=("rbind", access)),)
        lower_dirs = tuple(self.target(parent) for parent in parents)
        if read_only:
            return (
                Mount(
                    type="overlay",
                    options=("ro", *_OPTIONS),
                    lower_dirs=(self.target(directory), *lower_dirs),
                ),
            )
        return (
            Mount(
                type="overlay",
                options=_OPTIONS,
                lower_dirs=lower_dirs,
                upper_dir=self.target(directory),
                work_dir=os.fspath(self._directories.path(directory) / "work"),
            ),
        )

    def target(self, directory: str) -> str:
        """Return the layer's own files."""
        return os.fspath(self._directories.path(directory) / "fs")

    def lower_dirs(self, parents: Sequence[str]) -> tuple[str, ...] | None:
        """Return the files of the layers below."""
        return tuple(self.target(parent) for parent in parents)

    def comparison(self, directory: str, parents: Sequence[str]) -> Comparison:
        """Say that the directory's content is the change."""
        return Comparison(new_dir=self.target(directory), lower_dirs=self.lower_dirs(parents))

    def directories(self) -> set[str]:
        """Return the names of all directories."""
        return self._directories.names()

    def discard(self, directory: str) -> None:
        """Move a directory to the trash."""
        self._directories.discard(directory)

    async def purge(self, clock: Clock, is_urgent: Callable[[], bool]) -> None:
        """Empty the trash."""
        await self._directories.purge(clock, is_urgent)
