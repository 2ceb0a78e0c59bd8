"""The directories of a driver: made, listed, and taken out of sight before they are slowly removed.

<root>/<name>/…      what the driver keeps under a name
<root>/trash/<name>  discarded
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from services.kit.seams import Clock

_log = log.get(__name__)

_TRASH = "trash"
_PURGE_BATCH = 256
_PURGE_PAUSE_S = 0.01
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Named directories below one root. Names are never used twice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trash = root / _TRASH
        self._trash.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a directory is."""
        assert name and name != _TRASH and "/" not in name, f"{name!r} is not a directory's name"
        return self.root / name

    def names(self) -> set[str]:
        """Return all names in use."""
        with os.scandir(self.root) as entries:
            return {entry.name for entry in entries if entry.name != _TRASH}

    def discard(self, name: str) -> None:
        """Move a directory to the trash; a missing one is no error."""
        try:
            self.path(name).rename(self._trash / name)
        except FileNotFoundError:
            return

    async def purge(self, clock: Clock, is_urgent: Callable[[], bool]) -> None:
        """Remove all that is in the trash. Unless it is urgent, leave the disk and the processor to others in between.

        Big trees take their time on purpose: after many removals in a row ext4 needs long to find free inodes again.
        """
        with contextlib.closing(_removals(self._trash)) as removals:
            while await asyncio.to_thread(_advance, removals, _PURGE_BATCH):
                if not is_urgent():
                    await clock.sleep(_PURGE_PAUSE_S)


def _advance(removals: Iterator[None], count: int) -> bool:
    """Do up to `count` removals; return whether there may be more."""
    return all(next(removals, _END) is not _END for _ in range(count))


_END = object()


def _removals(trash: Path) -> Generator[None, None, None]:
    """Empty the trash, one name at each step.

    A directory found inside another is moved up into the trash first, so that neither the depth of a tree nor the
    length of its paths matters: whoever filled it may have meant to make it unremovable.
    """
    top = os.open(trash, _DIRECTORY_FLAGS)
    try:
        stuck: set[bytes] = set()
        while pending := [name for name in map(os.fsencode, os.listdir(top)) if name not in stuck]:  # noqa: PTH208 (a descriptor)
            for name in pending:
                try:
                    yield from _empty(top, name)
                except FileNotFoundError:
                    continue  # another purge was here
                except OSError as error:
                    _log.warning("trash_stuck", path=os.fsdecode(name), error=str(error))
                    stuck.add(name)
                yield
    finally:
        os.close(top)


def _empty(top: int, name: bytes) -> Iterator[None]:
    try:
        directory = os.open(name, _DIRECTORY_FLAGS, dir_fd=top)
    except NotADirectoryError:
        os.unlink(name, dir_fd=top)
        return
    try:
        left = True
        while left:  # until a whole pass finds nothing: names may be missed while others go
            left = False
            os.lseek(directory, 0, os.SEEK_SET)
            for entry in os.scandir(directory):
                left = True
                if entry.is_dir(follow_symlinks=False):
                    os.rename(entry.name, secrets.token_hex(8), src_dir_fd=directory, dst_dir_fd=top)
                else:
                    os.unlink(entry.name, dir_fd=directory)
                yield
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=top)
