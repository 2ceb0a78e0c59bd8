"""Which kind of file system something lies on."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_STATFS_BYTES = 256  # the kernel's structure has 120


def magic(descriptor: int) -> int:
    """Return the number that the kernel knows the file system of an open file by (statfs(2) lists them)."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(ctypes.c_int(descriptor), buffer) < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFF_FFFF
