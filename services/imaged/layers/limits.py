"""What a layer may ask of the node: bounds against archives that were made to do harm."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from services.imaged import disk
from services.kit import errors
from services.kit.tar.entry import invalid

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


class Meter:
    """Counts what one layer has used and raises when it goes beyond its limits, or the disk is nearly full."""

    _CHECK_EVERY_ENTRIES = 512

    def __init__(self, limits: Limits, directory: int) -> None:
        self._limits = limits
        self._reserve = disk.Reserve(directory)
        self.entries = 0
        self.size_bytes = 0

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
            self._reserve.check()

    def count_data(self, count: int) -> None:
        """Count bytes of file data, before they are written; raises as `count_entry` does."""
        self.size_bytes += count
        if self.size_bytes > self._limits.unpacked_bytes_max:
            raise invalid(f"it unpacks to more than {self._limits.unpacked_bytes_max} bytes")
        self._reserve.take(count)


def from_os_error(error: OSError, what: str) -> errors.BeeyardError:
    """Return the error that a failed system call means to the caller; `what` says what was being done."""
    if disk.is_full(error):
        return disk.full()
    if error.errno in _CAUSED_BY_ARCHIVE:
        return invalid(f"cannot {what}: {error.strerror}")
    return errors.Internal(f"cannot {what}: {error.strerror or error}", reason="LAYER_IO")
