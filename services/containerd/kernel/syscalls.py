"""Mount, namespace and path system calls through ctypes. Each raises `OSError` with the kernel's errno."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from services.containerd.kernel import trees

if TYPE_CHECKING:
    from pathlib import Path

CLONE_NEWNS = 0x0002_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

# The same on x86_64 and arm64: calls that are younger than the unification of the tables.
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_OPEN_TRIES_MAX = 32

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def mount(source: str, target: Path | str, kind: str, flags: int = 0, options: str = "") -> None:
    """Attach a file system, or change how one is attached."""
    code = _libc.mount(
        os.fsencode(source) if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        flags,
        options.encode() if options else None,
    )
    _check(code, target)


def umount(target: Path | str, flags: int = UMOUNT_NOFOLLOW) -> None:
    """Take off the topmost mount of a target."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """Leave namespaces that are shared; concerns the calling thread only."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter a namespace; concerns the calling thread only."""
    _check(_libc.setns(fd, kind), "setns")


def syncfs(fd: int) -> None:
    """Write out everything of the file system on which an open file or directory lies."""
    _check(_libc.syncfs(fd), "syncfs")


def pidfd_getfd(pidfd: int, number: int) -> int:
    """Return a descriptor for the open file that another process has as `number`: what is set there holds for both."""
    result: int = _libc.syscall(
        ctypes.c_long(_SYS_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0)
    )
    return _check(result, "pidfd_getfd")


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` with openat2(2) as if the directory `root_fd` were the root.

    No link, absolute or with "..", leads out, and links of /proc are not followed at all.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    result = _openat2(root_fd, path, how)
    tries = 1
    while result < 0 and ctypes.get_errno() == errno.EAGAIN and tries < _OPEN_TRIES_MAX:
        # Something was renamed on the way, and the kernel cannot tell whether we are still inside.
        result = _openat2(root_fd, path, how)
        tries += 1
    return _check(result, path)


def _openat2(root_fd: int, path: str, how: _OpenHow) -> int:
    result: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root_fd),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return result


class FileSystem:
    """A file system under construction with the new mount calls, which know no limit of one page for the options."""

    def __init__(self, kind: str) -> None:
        self._fd = _check(
            _libc.syscall(
                ctypes.c_long(_SYS_FSOPEN), ctypes.c_char_p(kind.encode()), ctypes.c_uint(_FSOPEN_CLOEXEC)
            ),
            kind,
        )

    def set(self, key: str, value: str) -> None:
        """Set an option with a value."""
        self._config(_FSCONFIG_SET_STRING, key, value)

    def set_flag(self, key: str) -> None:
        """Set an option without one."""
        self._config(_FSCONFIG_SET_FLAG, key, None)

    def mount(self, target: Path | str, attributes: int = 0) -> None:
        """Make it and put it at `target`."""
        self._config(_FSCONFIG_CMD_CREATE, None, None)
        mount_fd = _check(
            _libc.syscall(
                ctypes.c_long(_SYS_FSMOUNT),
                ctypes.c_int(self._fd),
                ctypes.c_uint(_FSMOUNT_CLOEXEC),
                ctypes.c_uint(attributes),
            ),
            target,
        )
        try:
            trees.attach(mount_fd, target)
        finally:
            os.close(mount_fd)

    def close(self) -> None:
        """Give up the construction; what was mounted stays."""
        os.close(self._fd)

    def _config(self, command: int, key: str | None, value: str | None) -> None:
        result = _libc.syscall(
            ctypes.c_long(_SYS_FSCONFIG),
            ctypes.c_int(self._fd),
            ctypes.c_uint(command),
            ctypes.c_char_p(key.encode() if key is not None else None),
            ctypes.c_char_p(os.fsencode(value) if value is not None else None),
            ctypes.c_int(0),
        )
        if result < 0:
            raise OSError(ctypes.get_errno(), self._explanation() or os.strerror(ctypes.get_errno()), value)

    def _explanation(self) -> str:
        """Return what the kernel has to say about the last failure, beyond the errno."""
        errno = ctypes.get_errno()
        try:
            text = os.read(self._fd, 4096).decode(errors="replace")
        except OSError:
            return ""
        finally:
            ctypes.set_errno(errno)
        return text.removeprefix("e ").strip()


def _check(result: int, what: object) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), str(what))
    return int(result)
