"""The few things that the log and the snapshots ask of a disk, and the real one.

Everything blocks. A name is a file in one directory. Data is durable when `sync`, or a call that says so,
returned; of what is not, a crash leaves all, nothing, a part, or garbage.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from services.kit import atomic


class Disk(Protocol):
    """A directory of files. Every method may raise OSError; after that, what is durable of the file is not known."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Make a new file with this content, durably; a crash meanwhile may leave a part."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of the file that was created last; not durable yet."""
        ...

    def sync(self, name: str) -> None:
        """Make durable what was appended to this file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, all or nothing, durably."""
        ...

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut a file off, durably."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, durably."""
        ...


class FileDisk:
    """A directory of the file system, made if it is missing. `write` and `read` may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: tuple[str, int] | None = None
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.remove_leftovers(root)

    def __str__(self) -> str:
        return str(self._root)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._root) if entry.is_file(follow_symlinks=False))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def create(self, name: str, data: bytes) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._root / name, flags, 0o600)
        self._open = (name, fd)
        _write_all(fd, data)
        os.fsync(fd)
        atomic.fsync_dir(self._root)

    def append(self, name: str, data: bytes) -> None:
        _write_all(self._fd(name), data)

    def sync(self, name: str) -> None:
        os.fdatasync(self._fd(name))

    def write(self, name: str, data: bytes) -> None:
        atomic.write(self._root / name, data)

    def truncate(self, name: str, size_bytes: int) -> None:
        fd = os.open(self._root / name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(fd, size_bytes)
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        (self._root / name).unlink()
        atomic.fsync_dir(self._root)

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _fd(self, name: str) -> int:
        assert self._open is not None and self._open[0] == name, (
            f"{name} is not the file that was created last"
        )
        return self._open[1]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
