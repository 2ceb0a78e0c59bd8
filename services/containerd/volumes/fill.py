"""Copy-up: what an image has where a new volume is mounted becomes the volume's first content. Blocks.

The place in the image is looked up with the root file system as `/`: links in it lead nowhere else (CVE-2022-23648).
"""

from __future__ import annotations

import contextlib
import os
import stat
from enum import Enum
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.containerd.volumes import entries, tree
from services.kit import errors
from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.kit.tar.ids import IdMap


class Need(Enum):
    """What a volume needs from an image."""

    NOTHING = 0
    ATTRIBUTES = 1
    """Owner, mode and times of the directory: it is empty there too."""
    CONTENT = 2


def need(root: Path, target: str, place: Path) -> Need:
    """Return what a volume needs before it is mounted for the first time.

    Args:
        root: The container's root file system.
        target: Where the volume will be mounted in it.
        place: The volume's content.

    Raises:
        errors.Invalid: A file is at the target.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_source(root, target))
        if source is None:
            return Need.NOTHING
        if not stat.S_ISDIR(os.fstat(source).st_mode):
            raise errors.Invalid(
                f"cannot mount volume over existing file, file exists {target}", reason="SPEC_INVALID"
            )
        if not tree.is_empty(stack.enter_context(tree.opened(place))):
            return Need.NOTHING
        return Need.ATTRIBUTES if tree.is_empty(_readable(stack, source)) else Need.CONTENT


def attributes(root: Path, target: str, place: Path, ids: IdMap = IDENTITY) -> None:
    """Give the volume the attributes of the image's directory."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_source(root, target))
        if source is not None:
            entries.copy_attributes(_readable(stack, source), stack.enter_context(tree.opened(place)), ids)


def content(root: Path, target: str, place: Path, ids: IdMap = IDENTITY) -> None:
    """Copy what the image has into the volume; what is there is a part of an earlier try, and goes."""
    with contextlib.ExitStack() as stack:
        volume = stack.enter_context(tree.opened(place))
        tree.empty(volume)
        source = stack.enter_context(_source(root, target))
        if source is not None and stat.S_ISDIR(os.fstat(source).st_mode):
            tree.copy(_readable(stack, source), volume, ids)
        syscalls.syncfs(volume)


@contextlib.contextmanager
def _source(root: Path, target: str) -> Iterator[int | None]:
    """Yield what the image has at the target: a descriptor that can be looked at only, None for nothing."""
    with tree.opened(root) as root_fd:
        try:
            fd = syscalls.open_in_root(root_fd, target, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)


def _readable(stack: contextlib.ExitStack, directory: int) -> int:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    stack.callback(os.close, fd)
    return fd
