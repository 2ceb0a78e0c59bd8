"""What a tar archive says about one file."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from services.kit import errors

Segment = tuple[int, int]
"""Offset and length of data in a sparse file."""


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    HARDLINK = "hard link"
    SYMLINK = "symbolic link"
    DIRECTORY = "directory"
    CHAR_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One member. Names are bytes: a file system has no encoding."""

    name: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    """Bytes of data that follow in the archive; of a sparse file, those of its segments."""
    mtime_ns: int = 0
    link_name: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    sparse: tuple[Segment, ...] | None = None
    """Where the data belongs; None for a file without holes."""
    real_size_bytes: int | None = None
    """Length of a sparse file, holes included."""

    @property
    def shown_name(self) -> str:
        """The name for messages: readable, and of bounded length."""
        return show(self.name)


def show(name: bytes) -> str:
    """Return a file name for messages."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:300])
    return text if len(name) <= 300 else text + "…"


def invalid(why: str) -> errors.Invalid:
    """Return the error for an archive that is not what it claims."""
    return errors.Invalid(f"invalid tar archive: {why}", reason="ARCHIVE_INVALID")
