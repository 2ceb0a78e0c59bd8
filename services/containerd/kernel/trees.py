"""Detached mount trees: mounts that are attached nowhere, held by a descriptor, and gone with its last copy.

Nothing needs a path for its target, so nobody can swap what the path leads to; and a daemon that dies leaves no mount.
Each call raises `OSError` with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os

# The same on x86_64 and arm64: calls that are younger than the unification of the tables.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_IDMAP = 0x0010_0000

IDS_NOT_SHOWN = frozenset({errnos.EINVAL, errnos.EOPNOTSUPP, errnos.ENOSYS, errnos.EPERM})
"""How `set_ids` fails on a file system, or a kernel, that cannot do it."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def clone(path: str | os.PathLike[str], *, recursive: bool = False) -> int:
    """Return a detached copy of the mount at a path; with `recursive` with the mounts below it."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _call(
        _SYS_OPEN_TREE,
        path,
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_uint(flags),
    )


def set_read_only(tree: int) -> None:
    """Make a detached tree read-only, with all mounts in it."""
    _set(tree, _MountAttributes(attr_set=_MOUNT_ATTR_RDONLY), recursive=True)


def set_ids(tree: int, user_namespace: int, *, recursive: bool = False) -> None:
    """Show a detached tree with the ids of the user namespace that is open as `user_namespace`.

    What the disk calls 0, its root owns; nothing on the disk changes. The kernel has it from 5.12 on for most file
    systems, for the lower layers of an overlay from 5.19 on; not for an overlay itself, nor for its upper directory
    (EINVAL).
    """
    attributes = _MountAttributes(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
    _set(tree, attributes, recursive=recursive)


def attach(tree: int, target: int | str | os.PathLike[str]) -> None:
    """Put a detached tree on a path, or on what a descriptor stands for, in the caller's mount namespace."""
    if isinstance(target, int):
        directory, path, flags = target, b"", _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    else:
        directory, path, flags = _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH
    _call(
        _SYS_MOVE_MOUNT,
        target,
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.c_uint(flags),
    )


def bind_with_ids(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    user_namespace: int,
    *,
    recursive: bool = False,
) -> None:
    """Bind `source` to `target`, shown with the ids of a user namespace; see `set_ids`."""
    tree = clone(source, recursive=recursive)
    try:
        set_ids(tree, user_namespace, recursive=recursive)
        attach(tree, target)
    finally:
        os.close(tree)


def _set(tree: int, attributes: _MountAttributes, *, recursive: bool) -> None:
    _call(
        _SYS_MOUNT_SETATTR,
        "mount_setattr",
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def _call(number: int, what: object, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), str(what))
    return int(result)
