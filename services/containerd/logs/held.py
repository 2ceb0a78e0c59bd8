"""What a reader has before it: the files of a log that it has yet to read, held open.

Rotation renames files, and in the end removes them. Who reads slower than a container writes would lose what is in
them; so each reader has the descriptors of all files from the one it reads to the one being written. Rotation asks it
to take that one before it is renamed, so that none is missed. A removed file takes up disk space for as long as it is
held, so what a reader holds of those is bounded; what it gives up is counted, to be told.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

HELD_BYTES_MAX = 256 << 20
"""In files that are removed, of each log: all readers of one hold the end of the same row of files."""
HELD_FILES_MAX = 256
"""Of these: descriptors of the daemon, for each reader."""

changing = threading.Lock()
"""Held while files are renamed, replaced or listed: the end of a container may come while its log is being rotated."""
_all: dict[Path, list[Held]] = {}


def before_rotation(path: Path) -> None:
    """Let the readers of a log take the file that is about to be renamed. Within `changing`."""
    for held in _all.get(path, ()):
        held.take()


def after_removal(path: Path) -> None:
    """Let the readers of a log give up what is too much, now that files were removed. Within `changing`."""
    for held in _all.get(path, ()):
        held.shed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What comes next in a log: never of two files, and nothing at the newest byte."""

    data: bytes
    begins: bool
    """It is the beginning of a file."""
    lost_bytes: int
    """So much before it was given up."""


class Held:
    """The files of one reader, who may be in another thread than rotation. To be closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._files: deque[BinaryIO] = deque()
        self._lost_bytes = 0

    def open(self, existing: list[Path]) -> list[BinaryIO]:
        """Take files, oldest first; return them. Within `changing`, which has them stay until they are taken."""
        for file in existing:
            with contextlib.suppress(FileNotFoundError):  # its container is being removed
                self._files.append(file.open("rb"))
        _all.setdefault(self._path, []).append(self)
        return list(self._files)

    def begin_at(self, file: BinaryIO, offset: int) -> None:
        """Leave out what is before a place in a file; nothing, if that file was given up meanwhile."""
        with self._lock:
            if file not in self._files:
                return
            while self._files[0] is not file:
                self._files.popleft().close()
            file.seek(offset)
            self._lost_bytes = 0

    def close(self) -> None:
        """Give everything up. Idempotent."""
        with changing:
            if self in (readers := _all.get(self._path, [])):
                readers.remove(self)
                if not readers:
                    del _all[self._path]
        with self._lock:
            while self._files:
                self._files.popleft().close()

    def read(self, size: int) -> Piece:
        """Return what comes next."""
        with self._lock:
            data, begins = self._next(size)
            lost, self._lost_bytes = self._lost_bytes, 0
            return Piece(data=data, begins=begins, lost_bytes=lost)

    def _next(self, size: int) -> tuple[bytes, bool]:
        while self._files or self._take():
            file = self._files[0]
            begins = not file.tell()
            if data := file.read(size):
                return data, begins
            if len(self._files) == 1 and not self._take():
                break
            # There is a next one, so nobody writes to this one any more. What was written before we looked is read.
            if data := file.read(size):
                return data, begins
            self._files.popleft().close()
        return b"", False

    def take(self) -> None:
        """Take the file that is being written, if it is a new one."""
        with self._lock:
            self._take()

    def _take(self) -> bool:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return False  # in the middle of a rotation, or between two runs
        if self._files and os.path.sameopenfile(self._files[-1].fileno(), file.fileno()):
            file.close()
            return False
        self._files.append(file)
        return True

    def shed(self) -> None:
        """Give up the oldest files that are removed, until what is left of these is within the bounds."""
        with self._lock:
            sizes = [stat.st_size for file in self._files if not (stat := os.fstat(file.fileno())).st_nlink]
            total, count = sum(sizes), len(sizes)
            for size in sizes:  # they are the oldest
                if total <= HELD_BYTES_MAX and count <= HELD_FILES_MAX:
                    return
                file = self._files.popleft()
                self._lost_bytes += size - file.tell()
                file.close()
                total, count = total - size, count - 1
