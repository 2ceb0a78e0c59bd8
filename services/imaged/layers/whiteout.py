"""Whiteouts: how a layer says that something below it is gone. Names in archives, devices and attributes on disk.

In an archive (OCI layer specification) an empty file `.wh.NAME` removes NAME of the layers below, and `.wh..wh..opq`
removes everything that the layers below have in its directory. The kernel's overlay file system says the same with a
character device 0:0 and with an extended attribute. Both concern lower layers only: what the same layer adds stays.
"""

from __future__ import annotations

import enum
import os
import stat
from dataclasses import dataclass

from services.kit.tar.entry import invalid, show

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
OVERLAY_OPAQUE_XATTR = "trusted.overlay.opaque"
OVERLAY_XATTR_PREFIXES = ("trusted.overlay.", "user.overlay.")
"""Attributes with which the overlay file system steers itself; never taken from an archive nor put into one."""
OVERLAY_DEVICE = os.makedev(0, 0)
_META_PREFIX = b".wh..wh."


class Meaning(enum.Enum):
    """What an entry's name says."""

    ORDINARY = "ordinary"
    REMOVES = "removes a name"
    OPAQUE = "removes all of the directory"
    IGNORED = "bookkeeping of a storage driver"


@dataclass(frozen=True, slots=True)
class Reading:
    """The meaning of a path in a layer, and for `REMOVES` the name that goes."""

    meaning: Meaning
    name: bytes = b""


_ORDINARY = Reading(Meaning.ORDINARY)


def read(parts: tuple[bytes, ...]) -> Reading:
    """Return what the path of an archive entry means.

    Raises:
        errors.Invalid: A whiteout of a name that no directory can have: it aims at the directory itself or above.
    """
    if PREFIX not in b"/".join(parts):
        return _ORDINARY
    base = parts[-1]
    if base == OPAQUE and not any(part.startswith(_META_PREFIX) for part in parts[:-1]):
        return Reading(Meaning.OPAQUE)
    if any(part.startswith(_META_PREFIX) for part in parts):
        return Reading(Meaning.IGNORED)
    if not base.startswith(PREFIX):
        return _ORDINARY
    name = base[len(PREFIX) :]
    if name in {b"", b".", b".."}:
        raise invalid(f"{show(b'/'.join(parts))} is a whiteout of {show(name)!r}, which is not a name")
    return Reading(Meaning.REMOVES, name)


def name_for(name: bytes) -> bytes:
    """Return the archive name of the whiteout of `name`."""
    return PREFIX + name


def is_overlay_whiteout(status: os.stat_result) -> bool:
    """Return whether a file on disk is the overlay file system's whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == OVERLAY_DEVICE


def is_overlay_xattr(name: str) -> bool:
    """Return whether an extended attribute belongs to the overlay file system."""
    return name.startswith(OVERLAY_XATTR_PREFIXES)


def is_opaque(directory: int | bytes) -> bool:
    """Return whether an overlay layer's directory (by descriptor or path) hides what is below it."""
    try:
        return os.getxattr(directory, OVERLAY_OPAQUE_XATTR) == b"y"
    except OSError:  # ENODATA, ENOTSUP: not marked
        return False


def mark_opaque(directory: int) -> None:
    """Make an overlay layer's directory hide what is below it."""
    os.setxattr(directory, OVERLAY_OPAQUE_XATTR, b"y")
