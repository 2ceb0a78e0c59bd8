"""Files that appear in a directory, by inotify."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_IN_MOVED_TO = 0x80
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_READ_BYTES_MAX = 64 << 10

_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """Calls back with the name of each file that is moved into a directory.

    Names that are there already are not told: list the directory after making this, so that none is missed. When the
    kernel's queue overflows the callback gets None: list again.
    """

    def __init__(self, directory: Path, arrived: Callable[[str | None], None]) -> None:
        self._arrived = arrived
        self._open = True
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if _libc.inotify_add_watch(self._fd, os.fsencode(directory), _IN_MOVED_TO) < 0:
            errno = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(errno, os.strerror(errno), str(directory))
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        """Stop."""
        self._open = False
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES_MAX)
        except BlockingIOError:
            return
        loop = asyncio.get_running_loop()
        offset = 0
        while offset < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            # Each by itself: one that fails must not take the rest of the batch with it.
            loop.call_soon(self._tell, None if mask & _IN_Q_OVERFLOW else os.fsdecode(name))

    def _tell(self, name: str | None) -> None:
        if self._open:
            self._arrived(name)
