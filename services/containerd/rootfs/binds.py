"""Host paths that are bound into a container, looked up before the runtime gets to see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.model.spec import Mount, MountKind
from services.containerd.ocispec.facts import BoundFile
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def resolve(mounts: Iterable[Mount], files: Mapping[str, str]) -> tuple[BoundFile, ...]:
    """Return the binds of a container: its bind mounts, and the files given in its specification.

    Args:
        mounts: As asked for.
        files: Path in the container to the place on the host where the file is.

    Raises:
        errors.Invalid: The source of a bind does not exist (BIND_SOURCE_MISSING).
    """
    binds = [_bind(mount) for mount in mounts if mount.kind is MountKind.BIND]
    binds += [BoundFile(source=place, target=path, read_only=True) for path, place in files.items()]
    return tuple(binds)


def _bind(mount: Mount) -> BoundFile:
    source = Path(mount.source)
    if mount.bind_create_source:
        source.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        raise errors.Invalid(
            f"bind source {source} does not exist on this node; make it, or ask for it to be made",
            reason="BIND_SOURCE_MISSING",
        )
    return BoundFile(
        source=str(source),
        target=mount.target,
        read_only=mount.read_only,
        propagation=mount.propagation or "rprivate",
        recursive=mount.bind_recursive != "disabled",
        read_only_recursive=mount.bind_recursive == "readonly",
    )
