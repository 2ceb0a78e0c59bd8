"""Files that are either the old or the new version, whole, whatever happens in between."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_TEMPORARY_SUFFIX = ".tmp~"


def write(path: Path | str, data: bytes, mode: int = 0o600, fsync: bool = True) -> None:
    """Replace the file at `path` by one that holds `data`.

    The data is in a temporary file of the same directory, on disk, before the name moves to it; then the directory is
    synced as well, so that after return the new version survives a power cut. With `fsync=False` the replacement is
    still atomic for readers, but a power cut may lose it or leave it empty: for files that only a running system needs.

    Raises:
        OSError: The directory is missing or full; the old version is untouched and no temporary file remains.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            os.fchmod(fd, mode)  # the umask must not decide
            _write_all(fd, data)
            if fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if fsync:
        fsync_dir(path.parent)


def read(path: Path | str) -> bytes | None:
    """Return the file's content, or None where there is no file; any other failure is raised."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def fsync_dir(path: Path | str) -> None:
    """Make the names in a directory durable: creations, renames and removals that were done in it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_leftovers(directory: Path | str) -> int:
    """Remove temporary files that a crash in `write` left in `directory`; return how many. For an owner's start."""
    leftovers = list(Path(directory).glob(f".*{_TEMPORARY_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
