"""Host paths that are bound into a container, looked up before the runtime gets to see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import mountinfo
from services.containerd.ocispec.facts import BoundFile
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.model.spec import Mount

_SHARED = frozenset({"shared", "rshared"})
_SLAVE = frozenset({"slave", "rslave"})


def of_files(files: Mapping[str, str]) -> tuple[BoundFile, ...]:
    """Return the binds of files that were given in the specification.

    Args:
        files: Path in the container to the place on the host where the file is.
    """
    return tuple(BoundFile(source=place, target=path, read_only=True) for path, place in files.items())


def bound(mount: Mount, source: Path) -> BoundFile:
    """Return how something of the host comes into the container: the one place where a source becomes a mount."""
    recursive = mount.bind_recursive != "disabled"
    return BoundFile(
        source=str(source),
        target=mount.target,
        read_only=mount.read_only,
        propagation=mount.propagation or "rprivate",
        recursive=recursive,
        # Nothing is below a file, and crun cannot do it for one.
        read_only_recursive=mount.read_only
        and recursive
        and mount.bind_recursive != "writable"
        and source.is_dir(),
        must_be_recursive=mount.bind_recursive == "readonly",
    )


def check_source(mount: Mount) -> None:
    """Refuse a bind whose source is missing, unless it is to be made.

    Raises:
        errors.Invalid: It does not exist (BIND_SOURCE_MISSING).
    """
    source = Path(mount.source)
    if not mount.bind_create_source and not source.exists():
        raise errors.Invalid(
            f'invalid mount config for type "bind": bind source path does not exist: {source}',
            reason="BIND_SOURCE_MISSING",
        )


def resolve(mount: Mount, *, private_namespace: bool) -> BoundFile:
    """Return a bind of a host path; a missing directory is made if that was asked for. Blocks.

    Args:
        mount: As asked for.
        private_namespace: Whether the runtime lives in a mount namespace of its own: mounts of the container reach
            the host through none.

    Raises:
        errors.Invalid: The source is missing, or what it lies on does not propagate as asked for.
    """
    check_source(mount)
    source = Path(mount.source)
    if mount.bind_create_source and not source.exists():
        try:
            source.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise errors.Invalid(
                f"error while creating mount source path '{source}': mkdir {exc.filename}: {exc.strerror}",
                reason="BIND_SOURCE_MISSING",
            ) from exc
    if mount.propagation in _SHARED | _SLAVE:
        _check_propagation(mount, str(source.resolve()), private_namespace=private_namespace)
    return bound(mount, source)


def _check_propagation(mount: Mount, source: str, *, private_namespace: bool) -> None:
    holding = mountinfo.holding(mountinfo.read(), source)
    where = holding.target if holding is not None else "?"
    if mount.propagation in _SHARED:
        if private_namespace:
            raise errors.Unsupported(
                f"{mount.propagation} mounts do not reach this host from the container's runtime, which needs a mount"
                " namespace of its own on hosts with v1 and v2 control groups: use --runtime runc, or rslave",
                reason="PROPAGATION_UNSUPPORTED",
            )
        if holding is None or not holding.shared:
            raise _unpropagated(f"path {source} is mounted on {where} but it is not a shared mount")
    elif holding is None or not (holding.shared or holding.slave):
        raise _unpropagated(f"path {source} is mounted on {where} but it is not a shared or slave mount")


def _unpropagated(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="PROPAGATION_UNSUPPORTED")
