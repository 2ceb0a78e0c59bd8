"""What is mounted in a container, settled once at its creation. Pure.

The specification keeps what the user asked for; here anonymous volumes have their names, and volumes of the image and
mounts taken from other containers are included. It is written with the record, before any of the volumes is made, and
never changes: which containers have a volume is read from it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.model.spec import Mount, MountKind

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One mount."""

    mount: Mount
    """As asked for, with `source` filled in: a volume has its name, also an anonymous one."""
    anonymous: bool = False
    """The volume was made for a container, without a name: it goes with `rm -v` and `--rm`."""


def volume_names(points: Iterable[MountPoint], *, anonymous: bool = False) -> tuple[str, ...]:
    """Return the volumes among the mounts, each once, in order; with `anonymous` those without a user's name."""
    return tuple(
        dict.fromkeys(
            point.mount.source
            for point in points
            if point.mount.kind is MountKind.VOLUME and (point.anonymous or not anonymous)
        )
    )
