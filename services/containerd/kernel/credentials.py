"""On whose behalf files are made."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_NONE = 0xFFFF_FFFF

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setfsuid.argtypes = _libc.setfsgid.argtypes = (ctypes.c_uint,)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


@contextlib.contextmanager
def making_files_as(uid: int, gid: int) -> Iterator[None]:
    """Let new files belong to these ids meanwhile; everything else stays permitted. Concerns the calling thread only.

    A mount that shows other ids takes no file from a user that it has no id for (EOVERFLOW), and our root is such a
    one: it does not help to change the owner afterwards.

    Raises:
        OSError: We may not.
    """
    if not (uid or gid):
        yield  # root does so anyway
        return
    bits = _prctl(_PR_GET_SECUREBITS, 0)
    # Else the capabilities that concern files went with the root's id.
    _prctl(_PR_SET_SECUREBITS, bits | _SECBIT_NO_SETUID_FIXUP)
    uid_before, gid_before = _libc.setfsuid(uid), _libc.setfsgid(gid)
    try:
        if (_libc.setfsuid(_NONE), _libc.setfsgid(_NONE)) != (uid, gid):
            raise PermissionError(f"cannot make files as {uid}:{gid}")
        yield
    finally:
        _libc.setfsuid(uid_before)
        _libc.setfsgid(gid_before)
        _prctl(_PR_SET_SECUREBITS, bits)


def _prctl(option: int, value: int) -> int:
    result = _libc.prctl(option, value, 0, 0, 0)
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "prctl")
    return int(result)
