"""imaged: configurations of images, and writable layers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from beeyard.image.v1 import image_pb2, image_pb2_grpc, snapshot_pb2, snapshot_pb2_grpc
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import Healthcheck
from services.containerd.rootfs.mounting import RootMount
from services.kit import errors
from services.kit.rpc import client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from services.containerd.model.idmap import IdMap
    from services.containerd.neighbours.calls import Neighbour

GET_TIMEOUT_S = 30.0
LOOK_TIMEOUT_S = 2.0
"""For what is only to be shown."""
PREPARE_TIMEOUT_S = 120.0
"""The first container of an image may wait until its layers are unpacked."""
COMMIT_TIMEOUT_S = 3600.0
_PAGE = 1000
LABEL = "beeyard.container"
"""Marks the snapshots that are ours: imaged has others."""
VIEW_LABEL = "beeyard.image-mount"
"""Marks the views that a container mounts."""
FRESH_MAX = 1_000
"""New layers whose mounts are kept for the start that follows as a rule."""


class Images:
    """What we ask imaged for. Everything here may be repeated."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour
        self._images = image_pb2_grpc.ImageServiceStub(neighbour.channel)
        self._snapshots = snapshot_pb2_grpc.SnapshotServiceStub(neighbour.channel)
        self._fresh: dict[str, tuple[RootMount, ...]] = {}

    async def config(self, reference: str, platform: str) -> ImageConfig:
        """Return the configuration of an image that is on this node.

        Raises:
            errors.NotFound: It is not (IMAGE_NOT_FOUND).
        """
        request = image_pb2.GetImageRequest(reference=reference, platform=platform)
        response = await self._neighbour.call(lambda: self._images.GetImage(request, timeout=GET_TIMEOUT_S))
        return config_from_pb(response.image)

    async def prepare(self, container_id: str, image_id: str) -> None:
        """Make the writable layer of a container."""
        request = snapshot_pb2.PrepareSnapshotRequest(
            key=container_id, image=image_id, labels={LABEL: container_id}
        )
        response = await self._neighbour.call(
            lambda: self._snapshots.PrepareSnapshot(request, timeout=PREPARE_TIMEOUT_S)
        )
        if len(self._fresh) >= FRESH_MAX:
            del self._fresh[next(iter(self._fresh))]
        self._fresh[container_id] = _mounts(response.mounts)

    async def prepare_view(self, key: str, reference: str, container_id: str) -> None:
        """Make a read-only view of an image, which a container mounts; the image stays while it exists.

        Raises:
            errors.NotFound: The image is not on this node (IMAGE_NOT_FOUND).
        """
        request = snapshot_pb2.PrepareSnapshotRequest(
            key=key, image=reference, read_only=True, labels={VIEW_LABEL: container_id}
        )
        await self._neighbour.call(
            lambda: self._snapshots.PrepareSnapshot(request, timeout=PREPARE_TIMEOUT_S)
        )

    async def mounts(self, container_id: str) -> tuple[RootMount, ...]:
        """Return how to mount the root of a container. Of a new one that is known from its making: its first start is
        what is waited for.

        Raises:
            errors.NotFound: It has no writable layer.
        """
        fresh = self._fresh.pop(container_id, None)
        if fresh is not None:
            return fresh
        request = snapshot_pb2.GetMountsRequest(key=container_id)
        response = await self._neighbour.call(
            lambda: self._snapshots.GetMounts(request, timeout=GET_TIMEOUT_S)
        )
        return _mounts(response.mounts)

    async def layers(self, container_id: str) -> RootMount | None:
        """Return the overlay of a container's root; None if it is another thing, or is not to be had now."""
        request = snapshot_pb2.GetMountsRequest(key=container_id)
        try:
            response = await client.call(self._snapshots.GetMounts(request, timeout=LOOK_TIMEOUT_S))
        except errors.BeeyardError:
            return None
        mounts = _mounts(response.mounts)
        return mounts[0] if len(mounts) == 1 and mounts[0].upper_dir else None

    async def remove(self, container_id: str) -> None:
        """Remove the writable layer of a container."""
        self._fresh.pop(container_id, None)
        request = snapshot_pb2.RemoveSnapshotRequest(key=container_id)
        await self._neighbour.call(lambda: self._snapshots.RemoveSnapshot(request, timeout=PREPARE_TIMEOUT_S))

    async def commit(self, request: snapshot_pb2.CommitImageRequest) -> snapshot_pb2.CommitImageResponse:
        """Make an image of a writable layer. Not repeated: each call makes an image."""
        stub = self._snapshots
        return await self._neighbour.once(lambda: stub.CommitImage(request, timeout=COMMIT_TIMEOUT_S))

    def diff(
        self, container_id: str, mount_points: Iterable[str], ids: IdMap | None
    ) -> AsyncIterator[snapshot_pb2.DiffSnapshotResponse]:
        """Yield what differs from the image, but what is there only to mount on."""
        request = snapshot_pb2.DiffSnapshotRequest(
            key=container_id, mount_points=mount_points, owner_ids=owner_ids(ids)
        )
        return client.stream(self._snapshots.DiffSnapshot(request))

    async def size_bytes(self, image_id: str) -> int:
        """Return the size of an image's file system, 0 if it is gone."""
        request = image_pb2.GetImageRequest(reference=image_id)
        try:
            response = await self._neighbour.call(
                lambda: self._images.GetImage(request, timeout=GET_TIMEOUT_S)
            )
        except errors.NotFound:
            return 0
        return response.image.size_bytes

    async def usage_bytes(self, container_id: str) -> int:
        """Return the size of the writable layer of a container, 0 if it is gone."""
        request = snapshot_pb2.GetUsageRequest(key=container_id)
        try:
            response = await self._neighbour.call(
                lambda: self._snapshots.GetUsage(request, timeout=GET_TIMEOUT_S)
            )
        except errors.NotFound:
            return 0
        return int(response.size_bytes)

    async def snapshots(self) -> frozenset[str]:
        """Return the containers that have a writable layer."""
        found: set[str] = set()
        token = ""
        while True:
            request = snapshot_pb2.ListSnapshotsRequest(page_size=_PAGE, page_token=token)
            response = await self._neighbour.call(
                functools.partial(self._snapshots.ListSnapshots, request, timeout=GET_TIMEOUT_S)
            )
            found.update(snapshot.key for snapshot in response.snapshots if snapshot.labels.get(LABEL))
            token = response.next_page_token
            if not token:
                return frozenset(found)


def owner_ids(ids: IdMap | None) -> snapshot_pb2.OwnerIds:
    """Return what imaged has to know of who wrote into a writable layer."""
    if ids is None:
        return snapshot_pb2.OwnerIds()
    return snapshot_pb2.OwnerIds(start=ids.start, size=ids.size)


def config_from_pb(image: image_pb2.Image) -> ImageConfig:
    """Return the part of an image that a container needs."""
    config = image.config
    return ImageConfig(
        id=image.id,
        entrypoint=tuple(config.entrypoint),
        command=tuple(config.cmd),
        env=tuple(config.env),
        user=config.user,
        workdir=config.working_dir,
        labels=dict(config.labels),
        exposed_ports=tuple(config.exposed_ports),
        volumes=tuple(config.volumes),
        stop_signal=config.stop_signal,
        health=_health(config.healthcheck) if config.HasField("healthcheck") else None,
        shell=tuple(config.shell),
    )


def _health(health: image_pb2.HealthConfig) -> Healthcheck:
    return Healthcheck(
        test=tuple(health.test),
        interval_s=health.interval_ms / 1000,
        timeout_s=health.timeout_ms / 1000,
        start_period_s=health.start_period_ms / 1000,
        start_interval_s=health.start_interval_ms / 1000,
        retries=health.retries,
    )


def _mounts(mounts: Iterable[snapshot_pb2.Mount]) -> tuple[RootMount, ...]:
    return tuple(
        RootMount(
            kind=mount.type,
            source=mount.source,
            options=tuple(mount.options),
            lower_dirs=tuple(mount.lower_dirs),
            upper_dir=mount.upper_dir,
            work_dir=mount.work_dir,
        )
        for mount in mounts
    )
