"""Makes what an entry describes: one name in one open directory at a time.

No call here follows a link or opens something that exists: a file is made with O_EXCL, so neither a device, nor a
fifo, nor a hard link of an earlier entry is ever written through. Which directory it is, and what becomes of something
that has the name already, the caller decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from services.kit.tar.entry import Kind, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kit.tar.entry import Entry
    from services.kit.tar.reader import TarReader

FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
COPY_BYTES = 1 << 20
_NS_MAX = (1 << 53) * 1_000_000_000
_XATTR_REFUSALS = {errno.ENOTSUP, errno.EPERM}
_DEVICE_TYPES = {Kind.CHAR_DEVICE: stat.S_IFCHR, Kind.BLOCK_DEVICE: stat.S_IFBLK}


class Maker:
    """Makes files of all kinds and sets their attributes.

    Args:
        count_data: Told how many bytes of data are about to be written; raises if they are too many.
        takes_xattr: Says which extended attributes of an archive are set.
        owner: Returns uid and gid for an entry, as the file system shall have them.
        xattr: Returns the value of an extended attribute, as the file system shall have it.
    """

    def __init__(
        self,
        *,
        count_data: Callable[[int], None],
        takes_xattr: Callable[[str], bool],
        owner: Callable[[Entry], tuple[int, int]] = lambda entry: (entry.uid, entry.gid),
        xattr: Callable[[str, bytes], bytes] = lambda _, value: value,
    ) -> None:
        self.xattrs_skipped = 0
        """Extended attributes that the file system or the kernel would not take."""
        self._count_data = count_data
        self._takes_xattr = takes_xattr
        self._owner = owner
        self._xattr = xattr

    def file(self, directory: int, name: bytes, entry: Entry, reader: TarReader) -> None:
        """Make a regular file and fill it; a file that cannot be completed is removed again.

        Raises:
            FileExistsError: The name is taken; nothing of the entry's data was read.
        """
        made = os.open(name, FILE_FLAGS, 0o600, dir_fd=directory)
        try:
            if entry.sparse is None:
                for view in reader.data(COPY_BYTES):
                    self._count_data(len(view))
                    write(made, view)
            else:
                self._write_sparse(made, entry, reader)
            self.set_attributes(made, entry)
            set_times(made, entry.mtime_ns)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(made)

    def node(self, directory: int, name: bytes, entry: Entry) -> None:
        """Make a link, a fifo or a device.

        Raises:
            FileExistsError: The name is taken.
        """
        match entry.kind:
            case Kind.SYMLINK:
                if not entry.link_name or b"\0" in entry.link_name:
                    raise invalid(f"{entry.shown_name!r} is a link to nothing")
                # The target stays as it is: it means something only to who lives in this tree and cannot leave it.
                os.symlink(entry.link_name, name, dir_fd=directory)
            case Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE:
                device = os.makedev(*entry.device)
                os.mknod(name, _DEVICE_TYPES[entry.kind] | 0o600, device, dir_fd=directory)
            case Kind.FIFO:
                os.mkfifo(name, 0o600, dir_fd=directory)
            case Kind.FILE | Kind.DIRECTORY | Kind.HARDLINK:
                raise AssertionError(f"a {entry.kind.value} is made in other ways")
        self._set_attributes_at(directory, name, entry)

    def set_attributes(self, made: int, entry: Entry) -> None:
        """Set owner, mode and extended attributes of an open file or directory; not its times."""
        os.fchown(made, *self._owner(entry))
        os.fchmod(made, entry.mode)  # after chown, which clears the setuid bits
        for name, value in entry.xattrs.items():
            self._set_xattr(made, name, value)

    def _set_attributes_at(self, directory: int, name: bytes, entry: Entry) -> None:
        """Set the attributes of something that cannot be opened without a side effect."""
        os.chown(name, *self._owner(entry), dir_fd=directory, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            _chmod_exactly(directory, name, entry.mode)
        if entry.xattrs:
            path = b"/proc/self/fd/%d/%s" % (directory, name)
            for key, value in entry.xattrs.items():
                self._set_xattr(path, key, value)
        set_times_at(directory, name, entry.mtime_ns)

    def _set_xattr(self, where: int | bytes, name: str, value: bytes) -> None:
        if not self._takes_xattr(name):
            return
        value = self._xattr(name, value)
        try:
            if isinstance(where, int):
                os.setxattr(where, name, value)
            else:
                os.setxattr(where, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _XATTR_REFUSALS:
                raise
            self.xattrs_skipped += 1

    def _write_sparse(self, made: int, entry: Entry, reader: TarReader) -> None:
        assert entry.sparse is not None and entry.real_size_bytes is not None, "the reader fills both"
        os.ftruncate(made, entry.real_size_bytes)
        segments = iter(entry.sparse)
        offset, left = 0, 0
        for whole in reader.data(COPY_BYTES):
            self._count_data(len(whole))
            view = whole
            while view:
                if not left:
                    offset, left = next(segments)
                written = os.pwrite(made, view[:left], offset)
                offset, left, view = offset + written, left - written, view[written:]


def write(made: int, view: memoryview) -> None:
    """Write all of `view` to a descriptor that blocks."""
    while view:
        view = view[os.write(made, view) :]


def set_times(made: int, mtime_ns: int) -> None:
    """Set access and modification time of an open file to a time of an archive, as far as a file system can tell it."""
    clamped = _clamp(mtime_ns)
    os.utime(made, ns=(clamped, clamped))


def set_times_at(directory: int, name: bytes, mtime_ns: int) -> None:
    """Do the same by name; a link is not followed."""
    clamped = _clamp(mtime_ns)
    os.utime(name, ns=(clamped, clamped), dir_fd=directory, follow_symlinks=False)


def _chmod_exactly(directory: int, name: bytes, mode: int) -> None:
    """Set the mode of what was just made. chmod by name follows links, and a link may have taken its place."""
    made = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISLNK(os.fstat(made).st_mode):
            os.chmod(f"/proc/self/fd/{made}", mode)  # noqa: PTH101 (a descriptor's own entry, no path of the tree)
    finally:
        os.close(made)


def _clamp(mtime_ns: int) -> int:
    return max(-_NS_MAX, min(_NS_MAX, mtime_ns))
