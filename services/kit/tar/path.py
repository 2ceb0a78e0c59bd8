"""Paths of archive entries: cleaned, split, and refused if they leave the root."""

from __future__ import annotations

from typing import TypeAlias

from services.kit.tar.entry import invalid, show

Parts: TypeAlias = "tuple[bytes, ...]"
"""The components of a path below the root; the root itself has none."""

PATH_BYTES_MAX = 4096
COMPONENT_BYTES_MAX = 255
DEPTH_MAX = 400


def split(name: bytes, what: str = "entry") -> Parts:
    """Return the components of an entry's name. A leading slash means the root of the layer.

    `a/../b` is `b`; a path that climbs above the root is refused, not clamped: nobody writes one by mistake.

    Raises:
        errors.Invalid: It leaves the root, holds a NUL, or is too long for any file system.
    """
    if len(name) > PATH_BYTES_MAX:
        raise invalid(f"{what} {show(name)!r} is longer than {PATH_BYTES_MAX} bytes")
    if b"\0" in name:
        raise invalid(f"{what} {show(name)!r} holds a NUL byte")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if not part or part == b".":
            continue
        if part == b"..":
            if not parts:
                raise invalid(f"{what} {show(name)!r} points outside of the archive's root")
            parts.pop()
            continue
        parts.append(part)
    if len(name) > COMPONENT_BYTES_MAX and any(len(part) > COMPONENT_BYTES_MAX for part in parts):
        raise invalid(f"{what} {show(name)!r} has a component longer than {COMPONENT_BYTES_MAX} bytes")
    if len(parts) > DEPTH_MAX:
        raise invalid(f"{what} {show(name)!r} is nested deeper than {DEPTH_MAX} directories")
    return tuple(parts)


def join(parts: Parts) -> bytes:
    """Return a path relative to the root."""
    return b"/".join(parts)
