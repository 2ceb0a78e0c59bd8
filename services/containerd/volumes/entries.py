"""Copying one file, link or special file from an open directory into another."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from services.kit.tar.ids import IDENTITY, IdMap

_FICLONE = 0x4004_9409
_CHUNK_BYTES = 16 << 20
_BUFFER_BYTES = 1 << 20
_CANNOT = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EBADF}
)
_OVERLAY = "trusted.overlay."
"""An overlay's own notes are no content."""


def copy(source: int, target: int, name: str, found: os.stat_result, ids: IdMap = IDENTITY) -> None:
    """Copy what is no directory and has no copy yet, with its attributes: the copy has the ids on the inside of `ids`.

    Raises:
        OSError: It cannot be read or written.
    """
    mode = found.st_mode
    if stat.S_ISREG(mode):
        _copy_file(source, target, name, ids)
        return
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, stat.S_IFMT(mode) | 0o600, found.st_rdev, dir_fd=target)
    os.chown(name, *ids.inside(found.st_uid, found.st_gid), dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(name, stat.S_IMODE(mode), dir_fd=target)  # nobody else writes there: it is what we made
    _copy_unopened_attributes(source, target, name, ids)
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def copy_attributes(source: int, target: int, ids: IdMap = IDENTITY) -> None:
    """Give an open file or directory the attributes of another; owner before mode, which a change of owner clips."""
    found = os.fstat(source)
    os.fchown(target, *ids.inside(found.st_uid, found.st_gid))
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(_OVERLAY):
            with contextlib.suppress(OSError):  # the target's file system may know none of this kind
                os.setxattr(target, name, ids.xattr_inside(name, os.getxattr(source, name)))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_unopened_attributes(source: int, target: int, name: str, ids: IdMap) -> None:
    """Copy extended attributes of what cannot be opened, by way of its directory."""
    theirs, ours = f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}"
    with contextlib.suppress(OSError):
        for attribute in os.listxattr(theirs, follow_symlinks=False):
            if not attribute.startswith(_OVERLAY):
                value = os.getxattr(theirs, attribute, follow_symlinks=False)
                os.setxattr(ours, attribute, ids.xattr_inside(attribute, value), follow_symlinks=False)


def _copy_file(source: int, target: int, name: str, ids: IdMap) -> None:
    # O_NONBLOCK: what was a file may be a fifo by now.
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(name, flags, 0o600, dir_fd=target)
        try:
            if not _clone(reading, writing):
                _copy_data(reading, writing)
            copy_attributes(reading, writing, ids)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _clone(source: int, target: int) -> bool:
    """Let both share their blocks, if the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
        return False
    return True


def _copy_data(source: int, target: int) -> None:
    size, offset = os.fstat(source).st_size, 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            break  # a hole to the end
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_extent(source, target, start, end)
        offset = end
    os.ftruncate(target, size)


def _copy_extent(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(source, target, min(end - start, _CHUNK_BYTES), start, start)
        except OSError as exc:
            if exc.errno not in _CANNOT:
                raise
            copied = _copy_buffer(source, target, start, min(end - start, _BUFFER_BYTES))
        if copied == 0:
            return  # it has become shorter
        start += copied


def _copy_buffer(source: int, target: int, offset: int, count: int) -> int:
    data = os.pread(source, count, offset)
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], offset + written)
    return written
