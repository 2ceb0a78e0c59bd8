"""What a layer may ask of the node: bounds against archives that were made to do harm."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from services.imaged.tar.entry import invalid
from services.kit import errors

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CAUSED_BY_ARCHIVE = {
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EFBIG,
    errno.EPERM,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EMLINK,
    errno.EMFILE,  # links nested so deeply that resolving them takes every descriptor
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one layer."""

    unpacked_bytes_max: int = 1 << 40
    entries_max: int = 10_000_000
    free_bytes_reserve: int = 64 << 20
    """Unpacking stops before the file system has less than this left, or a twentieth of its size if that is less: a
    node whose disk is full to the last byte cannot even remove something."""


class Meter:
    """Counts what one layer has used and raises when it goes beyond its limits."""

    _CHECK_EVERY_BYTES = 8 << 20
    _CHECK_EVERY_ENTRIES = 512

    def __init__(self, limits: Limits, directory: int) -> None:
        self._limits = limits
        self._directory = directory
        self.entries = 0
        self.size_bytes = 0
        self._bytes_until_check = 0
        self._reserve_bytes = min(limits.free_bytes_reserve, _capacity_bytes(directory) // 20)

    def count_entry(self) -> None:
        """Count one entry.

        Raises:
            errors.Invalid: There are too many.
            errors.Exhausted: The disk is nearly full.
        """
        self.entries += 1
        if self.entries > self._limits.entries_max:
            raise invalid(f"it has more than {self._limits.entries_max} entries")
        if self.entries % self._CHECK_EVERY_ENTRIES == 0:
            self._check_disk()

    def count_data(self, count: int) -> None:
        """Count bytes of file data, before they are written; raises as `count_entry` does."""
        self.size_bytes += count
        if self.size_bytes > self._limits.unpacked_bytes_max:
            raise invalid(f"it unpacks to more than {self._limits.unpacked_bytes_max} bytes")
        self._bytes_until_check -= count
        if self._bytes_until_check <= 0:
            self._check_disk()

    def _check_disk(self) -> None:
        self._bytes_until_check = self._CHECK_EVERY_BYTES
        if free_bytes(self._directory) < self._reserve_bytes + self._CHECK_EVERY_BYTES // 8:
            raise disk_full()


def free_bytes(path: int | str | bytes | os.PathLike[str]) -> int:
    """Return how many bytes can still be written to the file system of a path or descriptor."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _capacity_bytes(path: int) -> int:
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize


def disk_full(detail: str = "") -> errors.Exhausted:
    """Return the error for a full disk."""
    text = "no space is left on the disk that holds the images"
    return errors.Exhausted(
        f"{text}{f': {detail}' if detail else ''}; remove images with `swarmctl image prune`, or enlarge the disk",
        reason="DISK_FULL",
    )


def from_os_error(error: OSError, what: str) -> errors.BeeyardError:
    """Return the error that a failed system call means to the caller; `what` says what was being done."""
    if error.errno in _FULL:
        return disk_full()
    if error.errno in _CAUSED_BY_ARCHIVE:
        return invalid(f"cannot {what}: {error.strerror}")
    return errors.Internal(f"cannot {what}: {error.strerror or error}", reason="LAYER_IO")
