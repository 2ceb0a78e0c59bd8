"""The root that an archive is taken from or put into, and the paths in it.

Paths are the container's: absolute or not, they begin at the root. `.` and `..` are taken out of the text first, as
Docker does; what is left the kernel resolves with the root as `/` (openat2), so that no link, whoever makes or swaps it
meanwhile, leads out. Links of /proc are never followed.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from services.containerd.kernel import syscalls
from services.kit import errors
from services.kit.tar.entry import show

if TYPE_CHECKING:
    from types import TracebackType

PATH_BYTES_MAX = 4096
LINKS_MAX = 40


@dataclass(frozen=True, slots=True)
class Found:
    """A file, by name in an open directory. Owns the descriptor; use as a context manager."""

    directory: int
    name: bytes
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def link_target(self) -> bytes:
        """Where it points to, empty if it is no link."""
        if not stat.S_ISLNK(self.status.st_mode):
            return b""
        try:
            return os.readlink(self.name, dir_fd=self.directory)
        except OSError:
            return b""  # replaced meanwhile

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self.directory)


def clean(path: bytes) -> bytes:
    """Return a path without dots, beginning with a slash; an ending `/` or `/.`, which asks for a directory, stays.

    Raises:
        errors.Invalid: It is too long or holds a NUL (PATH_INVALID).
    """
    if len(path) > PATH_BYTES_MAX or b"\0" in path:
        raise errors.Invalid(f"the path {show(path)!r} is not one of a file", reason="PATH_INVALID")
    cleaned = posixpath.normpath(b"/" + path.lstrip(b"/"))
    if cleaned == b"/":
        return cleaned
    last = path.rpartition(b"/")[2]
    if last == b".":
        return cleaned + b"/."
    return cleaned + b"/" if last == b"" else cleaned


def base_name(path: bytes) -> bytes:
    """Return the last component of a cleaned path; `.` if it ends in one, `/` for the root."""
    return path.rstrip(b"/").rpartition(b"/")[2] or b"/"


def open_directory(root: int, path: bytes, flags: int = os.O_PATH) -> int:
    """Return a descriptor of a directory, links followed inside the root; raises `OSError`."""
    return syscalls.open_in_root(root, os.fsdecode(path), flags | os.O_DIRECTORY)


def find(root: int, path: bytes, *, follow: bool) -> Found:
    """Return what is at a cleaned path. A link at its end is followed if asked for, or for a path that ends in a slash.

    Raises:
        errors.NotFound: Nothing (PATH_NOT_FOUND).
        errors.Invalid: Something on the way, or at the end where one is asked for, is not a directory.
    """
    try:
        if path.endswith((b"/", b"/.")):
            directory = open_directory(root, path)
            return Found(directory, b".", os.fstat(directory))
        return _follow(root, path) if follow else _at(root, path)
    except OSError as exc:
        raise path_error(exc, path) from exc


def path_error(exc: OSError, path: bytes) -> errors.BeeyardError:
    """Return the error for a path that a caller has named and that cannot be had."""
    if exc.errno in (errno.ENOENT, errno.ELOOP):
        return errors.NotFound(f"no such file or directory: {show(path)}", reason="PATH_NOT_FOUND")
    if exc.errno == errno.ENOTDIR:
        return errors.Invalid(f"not a directory: {show(path)}", reason="PATH_NOT_A_DIRECTORY")
    if exc.errno == errno.ENAMETOOLONG:
        return errors.Invalid(f"a name is too long: {show(path)}", reason="PATH_INVALID")
    return errors.Internal(f"cannot open {show(path)}: {exc.strerror}", reason="FILES_IO")


def _at(root: int, path: bytes) -> Found:
    parent, _, name = path.rpartition(b"/")
    directory = open_directory(root, parent or b"/")
    try:
        return Found(directory, name, os.lstat(name, dir_fd=directory))
    except BaseException:
        os.close(directory)
        raise


def _follow(root: int, path: bytes) -> Found:
    for _ in range(LINKS_MAX):
        found = _at(root, path)
        target = found.link_target
        if not target:
            return found
        os.close(found.directory)
        # The kernel resolves what precedes the last component, dots in the target included.
        path = target if target.startswith(b"/") else path.rpartition(b"/")[0] + b"/" + target
        if path.rstrip(b"/").rpartition(b"/")[2] in (b"", b".", b".."):
            directory = open_directory(root, path)
            return Found(directory, b".", os.fstat(directory))
        path = path.rstrip(b"/")
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
