"""Reads which ids this node has for user namespaces: the settings', or those that the system gives to a user."""

from __future__ import annotations

from pathlib import Path

from services.containerd.userns import ranges
from services.containerd.userns.choice import Supply

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


def read(default: str, setting: str, user: str, users: Path = SUBUID, groups: Path = SUBGID) -> Supply:
    """Return what there is; nothing is fine until somebody asks for it."""
    if setting:
        return Supply(pool=ranges.parse(setting), default=default)
    pool = ranges.intersection(
        ranges.parse_subordinate(_text(users), user), ranges.parse_subordinate(_text(groups), user)
    )
    return Supply(pool=pool, default=default)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
