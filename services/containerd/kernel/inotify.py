"""What happens to files, by inotify: they appear in a directory, or are written to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_IN_MODIFY = 0x2
_IN_MOVED_TO = 0x80
_IN_Q_OVERFLOW = 0x4000
_IN_ONESHOT = 0x80000000
_EVENT = struct.Struct("iIII")
_READ_BYTES_MAX = 64 << 10

_libc = ctypes.CDLL(None, use_errno=True)


class _Queue:
    """One inotify instance, read by the event loop."""

    def __init__(self, tell: Callable[[int, int, bytes], None]) -> None:
        self._tell = tell
        self._open = True
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def watch(self, path: Path, mask: int) -> int:
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if watch < 0:
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno), str(path))
        return watch

    def forget(self, watch: int) -> None:
        _libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
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
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            # Each by itself: one that fails must not take the rest of the batch with it.
            loop.call_soon(self._tell_if_open, watch, mask, name)

    def _tell_if_open(self, watch: int, mask: int, name: bytes) -> None:
        if self._open:
            self._tell(watch, mask, name)


class Arrivals:
    """Calls back with the name of each file that is moved into a directory.

    Names that are there already are not told: list the directory after making this, so that none is missed. When the
    kernel's queue overflows the callback gets None: list again.
    """

    def __init__(self, directory: Path, arrived: Callable[[str | None], None]) -> None:
        self._arrived = arrived
        self._queue = _Queue(self._tell)
        try:
            self._queue.watch(directory, _IN_MOVED_TO)
        except OSError:
            self._queue.close()
            raise

    def close(self) -> None:
        """Stop."""
        self._queue.close()

    def _tell(self, _watch: int, mask: int, name: bytes) -> None:
        self._arrived(None if mask & _IN_Q_OVERFLOW else os.fsdecode(name))


class Writes:
    """Calls back once with the key of each file that is armed, when it is written to."""

    def __init__(self, written: Callable[[str], None]) -> None:
        self._written = written
        self._keys: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._queue = _Queue(self._tell)

    def arm(self, key: str, path: Path) -> None:
        """Tell of the next write to a file. To be armed before its size is looked at, so that none is missed.

        Raises:
            OSError: The file is not there, or the machine has too many watches.
        """
        self.disarm(key)
        watch = self._queue.watch(path, _IN_MODIFY | _IN_ONESHOT)
        self._keys[watch] = key
        self._watches[key] = watch

    def disarm(self, key: str) -> None:
        """Tell nothing more of a file."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            del self._keys[watch]
            self._queue.forget(watch)

    def close(self) -> None:
        """Stop."""
        self._queue.close()

    def _tell(self, watch: int, mask: int, _name: bytes) -> None:
        if mask & _IN_Q_OVERFLOW:
            for key in list(self._watches):
                self.disarm(key)
                self._written(key)
        elif watch in self._keys:  # not one that was disarmed meanwhile
            key = self._keys.pop(watch)
            del self._watches[key]
            self._written(key)
