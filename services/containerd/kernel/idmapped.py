"""Mounts that show files with the ids of a user namespace: what the disk calls 0, its root owns.

Nothing on the disk changes. The kernel has it from 5.12 on for most file systems, for the lower layers of an overlay
from 5.19 on; not for an overlay itself, nor for its upper directory.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The same on x86_64 and arm64.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442

_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_IDMAP = 0x0010_0000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def bind(source: Path | str, target: Path | str, user_namespace: int, *, recursive: bool = False) -> None:
    """Bind `source` to `target`, shown with the ids of the user namespace that is open as `user_namespace`.

    Raises:
        OSError: The kernel refuses; EINVAL where the file system cannot do it.
    """
    depth = _AT_RECURSIVE if recursive else 0
    tree = _check(
        _libc.syscall(
            ctypes.c_long(_SYS_OPEN_TREE),
            ctypes.c_int(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(source)),
            ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC | depth),
        ),
        source,
    )
    try:
        attributes = _MountAttr(_MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
        _check(
            _libc.syscall(
                ctypes.c_long(_SYS_MOUNT_SETATTR),
                ctypes.c_int(tree),
                ctypes.c_char_p(b""),
                ctypes.c_uint(_AT_EMPTY_PATH | depth),
                ctypes.byref(attributes),
                ctypes.c_size_t(ctypes.sizeof(attributes)),
            ),
            source,
        )
        _check(
            _libc.syscall(
                ctypes.c_long(_SYS_MOVE_MOUNT),
                ctypes.c_int(tree),
                ctypes.c_char_p(b""),
                ctypes.c_int(_AT_FDCWD),
                ctypes.c_char_p(os.fsencode(target)),
                ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
            ),
            target,
        )
    finally:
        os.close(tree)


def _check(result: int, what: Path | str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(what))
    return result
