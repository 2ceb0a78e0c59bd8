"""The mounts of one container, from its creation to its end: what they need is made, mounted, filled and given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.containerd.lifecycle import faults
from services.containerd.model import idmap, mounts
from services.containerd.model.events import Action
from services.containerd.model.spec import MountKind
from services.containerd.rootfs import binds, mounting
from services.containerd.rootfs.inside import Inside
from services.containerd.userns import place as place_of_ids
from services.containerd.volumes import fill, pin
from services.containerd.volumes.core import volume
from services.containerd.volumes.core.volume import Stage
from services.containerd.volumes.fill import Need
from services.kit import errors

if TYPE_CHECKING:
    from pathlib import Path

    from services.containerd.model.mounts import MountPoint
    from services.containerd.model.status import Record
    from services.containerd.neighbours.images import Images
    from services.containerd.ocispec.facts import BoundFile
    from services.containerd.runtime.layout import Bundle
    from services.containerd.volumes.volumes import Volumes


class ContainerMounts:
    """What containers mount. Every call may be repeated after a crash in its middle."""

    def __init__(self, volumes: Volumes, images: Images) -> None:
        self._volumes = volumes
        self._images = images

    async def prepare(self, record: Record) -> None:
        """Make the volumes of a new container, and the views of images; what is there already is used.

        Raises:
            errors.BeeyardError: Why one cannot be had.
        """
        for number, point in enumerate(record.mounts):
            match point.mount.kind:
                case MountKind.VOLUME:
                    await self._volumes.create(volume.wanted_by(point.mount, anonymous=point.anonymous))
                case MountKind.IMAGE:
                    await self._images.prepare_view(_view(record, number), point.mount.source, record.id)
                case MountKind.BIND:
                    await asyncio.to_thread(binds.check_source, point.mount)
                case MountKind.TMPFS:
                    pass

    async def bring(
        self, record: Record, bundle: Bundle, *, private_namespace: bool
    ) -> tuple[BoundFile, ...]:
        """Return what is bound into a container that starts, all in place. Its root is mounted.

        Raises:
            errors.BeeyardError: Why one cannot be had.
        """
        if not record.mounts:
            return ()
        await asyncio.to_thread(_check_targets, record, bundle.rootfs)
        bundle.mounts.mkdir(mode=0o700, exist_ok=True)
        found: list[BoundFile] = []
        for number, point in enumerate(record.mounts):
            match point.mount.kind:
                case MountKind.VOLUME:
                    source = await self._hold(record, point, bundle.rootfs)
                    source = await _owned(record, bundle, source, number)
                    source = await _part(source, point.mount.volume_subpath, bundle.mounts / str(number))
                    found.append(binds.bound(point.mount, source))
                case MountKind.IMAGE:
                    source = await self._view(record, number, bundle)
                    source = await _part(source, point.mount.image_subpath, bundle.mounts / str(number))
                    found.append(binds.bound(point.mount, source))
                case MountKind.BIND:
                    found.append(
                        await asyncio.to_thread(
                            binds.resolve, point.mount, private_namespace=private_namespace
                        )
                    )
                case MountKind.TMPFS:
                    pass
        return tuple(found)

    async def release(self, record: Record) -> None:
        """Let go of the volumes of a run; nothing of it is mounted any more."""
        for name in mounts.volume_names(record.mounts):
            async with self._volumes.turn(name):
                if record.id in self._volumes.holders(name):
                    await self._volumes.let_go(name, record.id)
                    self._volumes.tell_about(name, Action.UNMOUNT, container=record.id)

    async def drop(self, record: Record, *, volumes: bool) -> None:
        """Give up what a container kept while it existed; with `volumes` its anonymous ones that no other has."""
        for number, point in enumerate(record.mounts):
            if point.mount.kind is MountKind.IMAGE:
                await self._images.remove(_view(record, number))
        if not volumes:
            return
        for name in mounts.volume_names(record.mounts, anonymous=True):
            try:
                await self._volumes.remove(name, last_user=record.id)
            except errors.NotFound:
                continue
            except errors.FailedPrecondition as exc:
                if exc.reason != "VOLUME_IN_USE":
                    raise

    async def _hold(self, record: Record, point: MountPoint, root: Path) -> Path:
        name, mount = point.mount.source, point.mount
        async with self._volumes.turn(name):
            place = await self._volumes.hold(name, record.id)
            await self._fill(record, point, root, place)
            self._volumes.tell_about(
                name,
                Action.MOUNT,
                container=record.id,
                destination=mount.target,
                propagation=mount.propagation,
                **{"read/write": "false" if mount.read_only else "true"},
            )
        return place

    async def _fill(self, record: Record, point: MountPoint, root: Path, place: Path) -> None:
        """Copy what the image has, once: before the container's first run, and into nothing that another one uses."""
        name, mount = point.mount.source, point.mount
        if self._volumes.find(name).stage is Stage.FILLING:
            await self._copy(record, name, root, mount.target, place)
            return
        alone = self._volumes.holders(name) == {record.id}
        if record.status.started_at is not None or mount.volume_no_copy or mount.volume_subpath or not alone:
            return
        match await asyncio.to_thread(fill.need, root, mount.target, place):
            case Need.CONTENT:
                await self._volumes.set_stage(name, Stage.FILLING)
                faults.reached("volume.filling")
                await self._copy(record, name, root, mount.target, place)
            case Need.ATTRIBUTES:
                ids = idmap.mapping(record.status.ids)
                await asyncio.to_thread(fill.attributes, root, mount.target, place, ids)
            case Need.NOTHING:
                pass

    async def _copy(self, record: Record, name: str, root: Path, target: str, place: Path) -> None:
        ids = idmap.mapping(record.status.ids)
        await asyncio.to_thread(fill.content, root, target, place, ids)
        faults.reached("volume.filled")
        await self._volumes.set_stage(name, Stage.READY)

    async def _view(self, record: Record, number: int, bundle: Bundle) -> Path:
        place = bundle.mounts / f"image-{number}"
        place.mkdir(mode=0o755, exist_ok=True)
        root_mounts = await self._images.mounts(_view(record, number))
        with place_of_ids.owner(bundle, record.status.ids) as owner:
            await asyncio.to_thread(mounting.mount_root, root_mounts, place, owner)
        return place


async def _owned(record: Record, bundle: Bundle, source: Path, number: int) -> Path:
    """Return a volume as the container's user namespace has it: on the disk are the ids that the container sees."""
    ids = record.status.ids
    if ids is None:
        return source
    return await asyncio.to_thread(place_of_ids.shown, bundle, ids, source, bundle.mounts / f"ids-{number}")


async def _part(source: Path, subpath: str, place: Path) -> Path:
    if not subpath:
        return source
    await asyncio.to_thread(pin.pin, source, subpath, place)
    return place


def _check_targets(record: Record, root: Path) -> None:
    with Inside(root) as inside:
        for point in record.mounts:
            inside.refuse_mount_target(point.mount.target)


def _view(record: Record, number: int) -> str:
    """Return the key of a view of an image."""
    return f"{record.id}-image-{number}"
