"""When a layer's files are on the disk.

Syncing thousands of files one by one would cost more than unpacking them, and the layer's blob is durable anyway. So a
layer is usable at once, its row carries the id of the present boot until one sync of the file system has passed, and
after a power cut in between it is unpacked again.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what tells this boot of the machine from every other one."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def sync(path: str) -> None:
    """Write everything of the file system that holds `path` to the disk. Blocks, for seconds on a busy disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)
