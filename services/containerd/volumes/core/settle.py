"""Which mounts a new container gets: its own, its image's volumes, and those of other containers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.containerd.model import check
from services.containerd.model.mounts import MountPoint
from services.containerd.model.spec import Mount, MountKind
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

POINTS_MAX = 2_000
MODES = frozenset({"ro", "rw", "z", "Z"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Another container whose mounts are taken: one entry of --volumes-from."""

    points: tuple[MountPoint, ...]
    read_only: bool = False


def parse_source(text: str) -> tuple[str, frozenset[str]]:
    """Return the container that an entry of --volumes-from names, and the modes.

    Raises:
        errors.Invalid: It has an unknown mode, or no name.
    """
    name, _, modes = text.partition(":")
    given = frozenset(mode for mode in modes.split(",") if mode)
    if not name:
        raise errors.Invalid(f"invalid volumes-from {text!r}: it names no container", reason="SPEC_INVALID")
    if not given <= MODES or {"ro", "rw"} <= given:
        raise errors.Invalid(f"invalid mode for volumes-from: {modes}", reason="SPEC_INVALID")
    return name, given


def settle(
    own: Sequence[Mount], image_volumes: Iterable[str], sources: Iterable[Source], new_name: Callable[[], str]
) -> tuple[MountPoint, ...]:
    """Return the mounts, no two at one target.

    A container's own mounts win over those of others, and both over the volumes of its image. What comes from another
    container is not filled from this one's image.

    Args:
        own: As asked for; they were checked.
        image_volumes: Paths that the image declares, as hostile as the rest of it.
        sources: Other containers, in order: a later one wins.
        new_name: Makes names of anonymous volumes.

    Raises:
        errors.Invalid: A declared path covers the whole root or lies in /proc (IMAGE_INVALID), or there are too many.
    """
    points: dict[str, MountPoint] = {}
    for source in sources:
        for point in source.points:
            if point.mount.kind is not MountKind.TMPFS:
                points[point.mount.target] = _taken(point, read_only=source.read_only)
    for mount in own:
        target = normal(mount.target)
        # Of an image too the runtime must be told: one of them takes no restriction over from what it binds.
        read_only = mount.read_only or mount.kind is MountKind.IMAGE
        points[target] = _own(replace(mount, target=target, read_only=read_only), new_name)
    for path in image_volumes:
        target = normal(path)
        if target in points:
            continue
        try:
            check.check_target(target)
        except errors.Invalid as exc:
            raise errors.Invalid(
                f"the image declares a volume at {path[:80]!r}: {exc.message}", reason="IMAGE_INVALID"
            ) from exc
        points[target] = _own(Mount(kind=MountKind.VOLUME, target=target), new_name)
    if len(points) > POINTS_MAX:
        raise errors.Invalid(f"more than {POINTS_MAX} mounts", reason="SPEC_INVALID")
    return tuple(points.values())


def normal(path: str) -> str:
    """Return a path without ".", ".." and empty parts, as if the root were its own parent."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _own(mount: Mount, new_name: Callable[[], str]) -> MountPoint:
    if mount.kind is MountKind.VOLUME and not mount.source:
        return MountPoint(mount=replace(mount, source=new_name()), anonymous=True)
    return MountPoint(mount=mount)


def _taken(point: MountPoint, *, read_only: bool) -> MountPoint:
    mount = point.mount
    return replace(point, mount=replace(mount, read_only=mount.read_only or read_only, volume_no_copy=True))
