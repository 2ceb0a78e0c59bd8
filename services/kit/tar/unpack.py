"""Unpacks an archive into a directory that exists and has content, as a copy does: nothing of what is there is lost.

Where the directory is, and how a path in it is opened, the caller knows (`open_parent`); everything below that goes by
one name in one open directory, see `make`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING

from services.kit import errors
from services.kit.tar import make
from services.kit.tar import path as paths
from services.kit.tar.entry import Entry, Kind, invalid, show
from services.kit.tar.reader import TarReader
from services.kit.tar.walk import DIRECTORY_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.kit.tar.path import Parts
    from services.kit.tar.source import Source

ENTRIES_MAX = 10_000_000
_IMPLIED_MODE = 0o755
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BY_ARCHIVE = frozenset(
    {errno.ENAMETOOLONG, errno.EFBIG, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.EINVAL}
)
_NOT_ALLOWED = frozenset({errno.EPERM, errno.EACCES})


class Unpacker:
    """Puts entries into a directory, one after the other.

    Args:
        open_parent: Returns a descriptor of the directory at a path in the target, to be closed here; or raises
            `OSError`.
        maker: Makes files.
        refuse_other_kind: Refuse to replace a directory by something else and the reverse; else what is there goes.
        with_root: Give the target itself the attributes that the archive has for it.
        rename: Returns the path for the path of an entry.
    """

    def __init__(
        self,
        open_parent: Callable[[Parts], int],
        maker: make.Maker,
        *,
        refuse_other_kind: bool = True,
        with_root: bool = False,
        rename: Callable[[Parts], Parts] = lambda parts: parts,
    ) -> None:
        self.entry_count = 0
        self._open_parent = open_parent
        self._maker = maker
        self._refuse_other_kind = refuse_other_kind
        self._with_root = with_root
        self._rename = rename
        self._times: dict[Parts, int] = {}
        self._parent: tuple[Parts, int] | None = None

    def unpack(self, source: Source) -> None:
        """Unpack all of an archive, and read its stream to the end.

        Raises:
            errors.Invalid: It is malformed or hostile (ARCHIVE_INVALID), or does not fit what is there (PATH_CONFLICT).
            errors.Exhausted: No space is left (DISK_FULL).
            errors.FailedPrecondition: The target cannot be written to (READ_ONLY, PATH_IN_USE).
            errors.PermissionDenied: We may not (NOT_PERMITTED).
        """
        reader = TarReader(source)
        try:
            for entry in reader:
                self.add(entry, reader)
            self._finish()
        finally:
            self._forget()
        source.drain()

    def add(self, entry: Entry, reader: TarReader) -> None:
        """Make what an entry describes; `reader` stands at its data."""
        self.entry_count += 1
        if self.entry_count > ENTRIES_MAX:
            raise invalid(f"it has more than {ENTRIES_MAX} entries")
        parts = self._rename(paths.split(entry.name))
        try:
            if parts:
                self._add(entry, parts, reader)
            elif self._with_root and entry.kind is Kind.DIRECTORY:
                with self._directory(()) as root:
                    self._maker.set_attributes(root, entry)
                self._times[()] = entry.mtime_ns
        except OSError as error:
            raise from_os_error(error, paths.join(parts)) from error
        except (ValueError, OverflowError) as error:  # a number or a name that no system call takes
            raise invalid(f"cannot unpack {show(paths.join(parts))}: {error}") from error

    def _add(self, entry: Entry, parts: Parts, reader: TarReader) -> None:
        directory, name = self._parent_of(parts[:-1]), parts[-1]
        match entry.kind:
            case Kind.DIRECTORY:
                self._add_directory(directory, parts, entry)
            case Kind.FILE:
                self._replacing(directory, parts, lambda: self._maker.file(directory, name, entry, reader))
            case Kind.HARDLINK:
                self._add_hardlink(parts, entry)
            case Kind.SYMLINK | Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE | Kind.FIFO:
                self._replacing(directory, parts, lambda: self._maker.node(directory, name, entry))
                if entry.kind is Kind.SYMLINK:
                    self._forget()  # a path that was known may lead elsewhere now

    def _add_directory(self, directory: int, parts: Parts, entry: Entry) -> None:
        name = parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                self._clear_way(directory, parts, "non-directory", "directory")
                os.mkdir(name, 0o700, dir_fd=directory)
        made = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
        try:
            self._maker.set_attributes(made, entry)
        finally:
            os.close(made)
        self._times[parts] = entry.mtime_ns

    def _add_hardlink(self, parts: Parts, entry: Entry) -> None:
        target = self._rename(paths.split(entry.link_name, "hard link target"))
        if not target or target == parts:
            raise invalid(f"{entry.shown_name!r} is a hard link to {show(entry.link_name)!r}")
        try:
            source = self._open_parent(target[:-1])
        except FileNotFoundError:
            raise self._no_link_target(entry) from None
        try:
            if stat.S_ISDIR(os.lstat(target[-1], dir_fd=source).st_mode):
                raise invalid(f"{entry.shown_name!r} is a hard link to a directory")
            directory = self._parent_of(parts[:-1])
            self._replacing(
                directory,
                parts,
                lambda: os.link(
                    target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False
                ),
            )
        except FileNotFoundError:
            raise self._no_link_target(entry) from None
        finally:
            os.close(source)

    def _no_link_target(self, entry: Entry) -> Exception:
        return invalid(
            f"{entry.shown_name!r} is a hard link to {show(entry.link_name)!r}, which is not there"
        )

    def _replacing(self, directory: int, parts: Parts, made: Callable[[], None]) -> None:
        """Run `made`; if something has the name already, remove that and run it again."""
        try:
            made()
        except FileExistsError:
            self._clear_way(directory, parts, "directory", "non-directory")
            made()

    def _clear_way(self, directory: int, parts: Parts, there: str, wanted: str) -> None:
        name = parts[-1]
        status = os.lstat(name, dir_fd=directory)
        is_directory = stat.S_ISDIR(status.st_mode)
        if self._refuse_other_kind and is_directory == (there == "directory"):
            raise errors.Invalid(
                f'cannot overwrite {there} "{show(paths.join(parts))}" with {wanted}', reason="PATH_CONFLICT"
            )
        if is_directory:
            shutil.rmtree(os.fsdecode(name), dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
        if not stat.S_ISREG(status.st_mode):
            self._forget_below(parts)

    def _parent_of(self, parts: Parts) -> int:
        """Return the descriptor of a directory, made if it is missing; good until the next call."""
        if self._parent is not None and self._parent[0] == parts:
            return self._parent[1]
        self._forget()
        try:
            descriptor = self._open_parent(parts)
        except FileNotFoundError:
            descriptor = self._make_parents(parts)
        self._parent = (parts, descriptor)
        return descriptor

    def _make_parents(self, parts: Parts) -> int:
        for depth in range(1, len(parts) + 1):
            try:
                descriptor = self._open_parent(parts[:depth])
            except FileNotFoundError:
                with self._directory(parts[: depth - 1]) as above:
                    os.mkdir(parts[depth - 1], 0o700, dir_fd=above)
                    made = os.open(parts[depth - 1], DIRECTORY_FLAGS, dir_fd=above)
                try:
                    self._maker.set_attributes(
                        made, Entry(name=paths.join(parts), kind=Kind.DIRECTORY, mode=_IMPLIED_MODE)
                    )
                finally:
                    os.close(made)
            else:
                os.close(descriptor)
        return self._open_parent(parts)

    @contextlib.contextmanager
    def _directory(self, parts: Parts) -> Iterator[int]:
        """Open a directory whose attributes are to be set: an O_PATH descriptor would not do."""
        path_only = self._open_parent(parts)
        try:
            descriptor = os.open(b".", DIRECTORY_FLAGS, dir_fd=path_only)
        finally:
            os.close(path_only)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _finish(self) -> None:
        """Do what must wait for the last entry: times of directories, which every entry in them changes."""
        for parts, mtime_ns in self._times.items():
            try:
                if not parts:
                    with self._directory(()) as root:
                        make.set_times(root, mtime_ns)
                    continue
                directory = self._parent_of(parts[:-1])
                if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=directory).st_mode):
                    make.set_times_at(directory, parts[-1], mtime_ns)
            except FileNotFoundError:
                continue  # somebody has removed it meanwhile
            except OSError as error:
                raise from_os_error(error, paths.join(parts)) from error

    def _forget_below(self, parts: Parts) -> None:
        if self._parent is not None and self._parent[0][: len(parts)] == parts:
            self._forget()

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None


def from_os_error(error: OSError, path: bytes) -> errors.BeeyardError:
    """Return the error that a failed system call at a path of the target means to the caller."""
    shown, why = show(path) or ".", error.strerror or str(error)
    if error.errno in _FULL:
        return errors.Exhausted(f"no space is left for {shown}", reason="DISK_FULL")
    if error.errno == errno.EROFS:
        return errors.FailedPrecondition(
            f"{shown} lies in a file system that is read-only", reason="READ_ONLY"
        )
    if error.errno == errno.EBUSY:
        return errors.FailedPrecondition(
            f"{shown} is a mount point and cannot be replaced", reason="PATH_IN_USE"
        )
    if error.errno in _NOT_ALLOWED:
        return errors.PermissionDenied(f"cannot write {shown}: {why}", reason="NOT_PERMITTED")
    if error.errno in _BY_ARCHIVE:
        return invalid(f"cannot unpack {shown}: {why}")
    return errors.Internal(f"cannot write {shown}: {why}", reason="FILES_IO")
