"""Files on disk as entries of an archive.

The tree may be hostile and change while it is read. Every call names one component relative to the descriptor of its
directory and follows no link. Nothing is opened for reading before it is known to be a regular file: to open a device
or a fifo has effects of its own, and what was a file when its name was read may be one now.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from services.kit.tar import writer
from services.kit.tar.entry import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kit.tar.entry import Segment

COPY_BYTES = 1 << 20
SPARSE_BYTES_MIN = 1 << 20
SEGMENTS_MAX = 1 << 16
"""A file with more holes than this is written in full."""
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
}


class Packer:
    """Writes an archive through `write`, which takes all that it is given.

    A file that changes while it is read is cut or padded with zeros to the size it had: the archive stays well-formed.
    What vanishes or is replaced between its listing and its reading is left out.

    Args:
        write: Takes the next part of the archive.
        takes_xattr: Says which extended attributes are written.
        whole_seconds: Cut times to seconds, as in layers; else nanoseconds are kept.
        holes: Leave the holes of sparse files out (GNU's sparse format 1.0).
        owner: Returns uid and gid as the archive shall have them.
        xattr: Returns the value of an extended attribute as the archive shall have it.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        takes_xattr: Callable[[str], bool],
        whole_seconds: bool = True,
        holes: bool = False,
        owner: Callable[[os.stat_result], tuple[int, int]] = lambda status: (status.st_uid, status.st_gid),
        xattr: Callable[[str, bytes], bytes] = lambda _, value: value,
    ) -> None:
        self.tar_bytes = 0
        self.size_bytes = 0
        """Bytes of file data."""
        self.entry_count = 0
        self._write = write
        self._takes_xattr = takes_xattr
        self._whole_seconds = whole_seconds
        self._holes = holes
        self._owner = owner
        self._xattr = xattr
        self._linked: dict[tuple[int, int], bytes] = {}

    def add(self, directory: int, name: bytes, status: os.stat_result, entry_name: bytes) -> None:
        """Write the file `name` of an open directory as `entry_name`; of a directory, itself alone.

        A file whose inode was written before becomes a hard link to it. Sockets are left out: an archive has no word
        for them.
        """
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        uid, gid = self._owner(status)
        entry = Entry(
            name=entry_name + (b"/" if kind is Kind.DIRECTORY else b""),
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=uid,
            gid=gid,
            mtime_ns=status.st_mtime_ns,
        )
        if kind is not Kind.DIRECTORY and status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), entry.name)
            if first != entry.name:
                entry.kind, entry.link_name = Kind.HARDLINK, first
                self.header(entry)
                return
        found = read_xattrs(directory, name, self._takes_xattr)
        entry.xattrs = {key: self._xattr(key, value) for key, value in found.items()}
        match kind:
            case Kind.SYMLINK:
                try:
                    entry.link_name = os.readlink(name, dir_fd=directory)
                except OSError:
                    return  # replaced meanwhile
            case Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE:
                entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            case Kind.FILE:
                if not self._add_file(entry, directory, name):  # gone or replaced meanwhile
                    self._linked.pop((status.st_dev, status.st_ino), None)  # nothing may be a hard link to it
                return
            case Kind.DIRECTORY | Kind.FIFO | Kind.HARDLINK:
                pass  # the header says it all
        self.header(entry)

    def header(self, entry: Entry) -> None:
        """Write an entry that has no data."""
        self.entry_count += 1
        self._emit(writer.render(entry, whole_seconds=self._whole_seconds))

    def finish(self) -> None:
        """Write the end marker."""
        self._emit(writer.END)

    def _add_file(self, entry: Entry, directory: int, name: bytes) -> bool:
        descriptor = open_file(directory, name)
        if descriptor is None:
            return False
        try:
            length = os.fstat(descriptor).st_size
            segments = self._segments(descriptor, length)
            if segments is None:
                segments = ((0, length),)
            else:
                entry.sparse, entry.real_size_bytes = segments, length
            entry.size_bytes = sum(count for _, count in segments)
            self.header(entry)
            for offset, count in segments:
                self._copy(descriptor, offset, count)
        finally:
            os.close(descriptor)
        self.size_bytes += entry.size_bytes
        self._emit(writer.padding(entry.size_bytes))
        return True

    def _segments(self, descriptor: int, length: int) -> tuple[Segment, ...] | None:
        """Return where a file's data lies, None if it has no holes worth the trouble."""
        if not self._holes or length - os.fstat(descriptor).st_blocks * 512 < SPARSE_BYTES_MIN:
            return None
        segments: list[Segment] = []
        end = 0
        while end < length and len(segments) < SEGMENTS_MAX:
            try:
                start = os.lseek(descriptor, end, os.SEEK_DATA)
                end = min(os.lseek(descriptor, start, os.SEEK_HOLE), length)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole is left
                    return tuple(segments)
                return None
            if start < end:
                segments.append((start, end - start))
        return tuple(segments) if end >= length else None

    def _copy(self, descriptor: int, offset: int, left: int) -> None:
        while left and (data := os.pread(descriptor, min(left, COPY_BYTES), offset)):
            self._emit(data)
            offset, left = offset + len(data), left - len(data)
        while left:
            zeros = bytes(min(left, COPY_BYTES))
            self._emit(zeros)
            left -= len(zeros)

    def _emit(self, data: bytes) -> None:
        self.tar_bytes += len(data)
        self._write(data)


def open_file(directory: int, name: bytes) -> int | None:
    """Return a descriptor for reading a regular file; None if that is not what is there."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        return os.open(b"/proc/self/fd/%d" % found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(found)


def read_xattrs(directory: int, name: bytes, takes: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the extended attributes of a file, a link not followed, that `takes` accepts."""
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {key: os.getxattr(path, key, follow_symlinks=False) for key in names if takes(key)}
    except OSError:  # gone meanwhile, or a file system without attributes
        return {}
