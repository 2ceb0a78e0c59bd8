"""Room on the disk: what a full one means to the caller, and a reserve that is never touched."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from pathlib import Path

CHECK_EVERY_BYTES = 8 << 20
RESERVE_BYTES = 64 << 20
SCARCE_BYTES = 8 << 30
_RESERVE_SHARE = 20
_SCARCE_SHARE = 5
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Reserve:
    """Raises before a file system has less than a reserve left: 64 MiB, or a twentieth of its size if that is less.

    A node whose disk is full to the last byte cannot even write down that something is to be removed.

    Args:
        path: A path on the file system, or a descriptor.
    """

    def __init__(self, path: int | Path) -> None:
        self._path = path
        status = os.statvfs(path)
        self._reserve_bytes = min(RESERVE_BYTES, status.f_blocks * status.f_frsize // _RESERVE_SHARE)
        self._until_check = 0

    def take(self, count: int) -> None:
        """Note that `count` bytes are about to be written.

        Raises:
            errors.Exhausted: With reason DISK_FULL.
        """
        self._until_check -= count
        if self._until_check > 0:
            return
        self.check()

    def check(self) -> None:
        """Look at the file system now; raises as `take` does."""
        self._until_check = CHECK_EVERY_BYTES
        status = os.statvfs(self._path)
        if status.f_blocks == 0:
            return  # a file system without a limit of its own, such as a tmpfs with size=0
        # A sixteenth of the step: on a small disk the reserve itself must leave room to work.
        if status.f_bavail * status.f_frsize < self._reserve_bytes + CHECK_EVERY_BYTES // 16:
            raise full()


def is_scarce(path: int | Path) -> bool:
    """Return whether little is left: less than a fifth of the file system, and less than 8 GiB."""
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    return status.f_blocks > 0 and free < SCARCE_BYTES and status.f_bavail * _SCARCE_SHARE < status.f_blocks


def full() -> errors.Exhausted:
    """Return the error for a full disk."""
    return errors.Exhausted(
        "no space is left on the disk that holds the images; remove some with `swarmctl image prune`, or enlarge it",
        reason="DISK_FULL",
    )


def is_full(error: OSError) -> bool:
    """Return whether a system call failed because the disk, or a quota on it, is full."""
    return error.errno in _FULL
