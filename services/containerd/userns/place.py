"""What a start does for a container with ids of its own, before the runtime gets to see it. Blocks: for worker threads.

Everything is below its bundle and goes with it; each step may find itself done, by a daemon that died.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from services.containerd.kernel import trees
from services.containerd.rootfs.mounting import Owner
from services.containerd.runtime import sharing
from services.containerd.runtime.flavour import Kind
from services.containerd.userns import null, pin
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from services.containerd.model.idmap import IdMap
    from services.containerd.ocispec.facts import BoundFile, Identity
    from services.containerd.runtime.flavour import Flavour
    from services.containerd.runtime.layout import Bundle, Layout

_log = log.get(__name__)
_KEPT = {os.ST_NOSUID: "nosuid", os.ST_NODEV: "nodev", os.ST_NOEXEC: "noexec", os.ST_RDONLY: "ro"}


def prepare(layout: Layout, bundle: Bundle, ids: IdMap, flavour: Flavour, owner_pid: int | None) -> None:
    """Make, or join, the user namespace, and let its root reach the bundle.

    Args:
        layout: Where bundles are.
        bundle: The container's.
        ids: Its ids.
        flavour: What will run it.
        owner_pid: A process of the container whose user namespace it shares; None makes one.

    Raises:
        errors.FailedPrecondition: The kernel allows none, or a directory on the way is closed.
    """
    release(bundle)
    if owner_pid is None:
        pin.make(bundle.user_namespace, ids)
    else:
        pin.join(bundle.user_namespace, owner_pid)
    pin.admit((layout.run, layout.bundles), bundle.path, ids.start)
    if flavour.kind is Kind.CRUN:
        null.make(bundle)


@contextlib.contextmanager
def owner(bundle: Bundle, ids: IdMap | None) -> Iterator[Owner | None]:
    """Yield who owns the root file system, None for a container without ids of its own."""
    if ids is None:
        yield None
        return
    namespace = os.open(bundle.user_namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Owner(ids=ids, namespace=namespace, workspace=bundle.lowers)
    finally:
        os.close(namespace)


def shown(bundle: Bundle, ids: IdMap, source: Path, target: Path) -> Path:
    """Return where a directory of the node is shown with the container's ids: what it calls root's, the disk does too.

    So the ids in a volume do not depend on the container that writes there. A file system that cannot do it is given
    to the container as it is.
    """
    with owner(bundle, ids) as namespace:
        assert namespace is not None
        target.mkdir(mode=0o700, exist_ok=True)
        try:
            trees.bind_with_ids(source, target, namespace.namespace)
        except OSError as exc:
            if exc.errno not in trees.IDS_NOT_SHOWN:
                raise
            _log.warning("volume_ids_not_shown", source=str(source), error=exc.strerror)
            return source
    return target


def keep_flags(binds: Iterable[BoundFile], ids: IdMap | None) -> tuple[BoundFile, ...]:
    """Return the binds of a container as its user namespace may mount them."""
    if ids is None:
        return tuple(binds)
    return tuple(replace(bind, kept_flags=_flags_of(bind.source)) for bind in binds)


def _flags_of(source: str) -> tuple[str, ...]:
    flags = os.statvfs(source).f_flag
    return tuple(name for bit, name in _KEPT.items() if flags & bit)


def give_streams(pid: int, ids: IdMap | None, identity: Identity) -> None:
    """Let the container's user open its standard streams by name, as `/dev/stderr`."""
    if ids is not None:
        pin.give_streams(pid, ids.to_host(identity.uid), ids.to_host(identity.gid))


def release(bundle: Bundle) -> None:
    """Let go of everything that `prepare` and the mounting of the root made."""
    places = [bundle.user_namespace, bundle.null.parent]
    if bundle.lowers.is_dir():
        places += bundle.lowers.iterdir()
    for place in places:
        while sharing.unmount(place):
            pass
