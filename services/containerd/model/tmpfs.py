"""Options of a tmpfs, as `--tmpfs` takes them. Pure."""

from __future__ import annotations

import re

from services.kit import errors

_FLAGS = re.compile(
    "defaults|r[ow]|(a|dir)?sync|(no)?(suid|dev|exec|mand|atime|diratime|relatime|strictatime|swap)|inode(32|64)"
    "|r?(private|shared|slave|unbindable)|tmpcopyup"
)
_COUNT = r"\d{1,19}[kmgtpeKMGTPE]?"
_VALUES = {
    "gid": re.compile(r"\d{1,10}"),
    "huge": re.compile("never|always|within_size|advise"),
    "mode": re.compile("[0-7]{1,5}"),
    "mpol": re.compile("[a-z=:0-9-]+"),
    "nr_blocks": re.compile(_COUNT),
    "nr_inodes": re.compile(_COUNT),
    "size": re.compile(rf"{_COUNT}|\d{{1,3}}%"),
    "uid": re.compile(r"\d{1,10}"),
}


def check(option: str) -> None:
    """Refuse an option that no tmpfs can be mounted with.

    Raises:
        errors.Invalid: It is unknown, or its value is none (SPEC_INVALID).
    """
    name, _, value = option.partition("=")
    pattern = _VALUES.get(name)
    fits = (
        pattern.fullmatch(value) is not None if pattern is not None else _FLAGS.fullmatch(option) is not None
    )
    if not fits:
        raise errors.Invalid(f"invalid tmpfs option {option[:80]!r}", reason="SPEC_INVALID")
