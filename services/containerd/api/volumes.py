"""VolumeService: the volumes of this node."""

# ruff: noqa: N802, ARG002 (the protos name the methods and their arguments)

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.container.v1 import volume_pb2 as pb
from beeyard.container.v1 import volume_pb2_grpc
from services.containerd.api.filters import from_lists
from services.containerd.api.status_to_pb import timestamp
from services.containerd.volumes.core import filters
from services.containerd.volumes.core.volume import LOCAL, Wanted
from services.containerd.volumes.transfer import Transfer
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.volumes.copies import Copies
    from services.containerd.volumes.core.volume import Volume
    from services.containerd.volumes.volumes import Volumes
    from services.kit.rpc.types import Context

PAGE_MAX = 1_000


class VolumeService(volume_pb2_grpc.VolumeServiceServicer):
    """Volumes."""

    def __init__(self, volumes: Volumes, copies: Copies) -> None:
        self._volumes = volumes
        self._copies = copies
        self._transfer = Transfer(copies)

    async def CreateVolume(
        self, request: pb.CreateVolumeRequest, context: Context
    ) -> pb.CreateVolumeResponse:
        wanted = Wanted(
            name=request.name,
            driver=request.driver or LOCAL,
            labels=dict(request.labels),
            options=dict(request.options),
        )
        return pb.CreateVolumeResponse(volume=self._to_pb(await self._volumes.create(wanted)))

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Context) -> pb.ListVolumesResponse:
        wanted = from_lists((key, value.values) for key, value in request.filters.items())
        filters.check(wanted)
        counts = self._volumes.counts()
        chosen = [
            volume
            for volume in self._volumes.all()
            if volume.name > request.page_token
            and filters.matches(volume, wanted, used=counts[volume.name] > 0)
        ]
        size = min(request.page_size or PAGE_MAX, PAGE_MAX)
        page, rest = chosen[:size], chosen[size:]
        volumes = [self._to_pb(volume, counts[volume.name]) for volume in page]
        if request.size:
            for shown in volumes:
                shown.size_bytes = await self._volumes.size_bytes(shown.name)
        return pb.ListVolumesResponse(volumes=volumes, next_page_token=page[-1].name if rest else "")

    async def GetVolume(self, request: pb.GetVolumeRequest, context: Context) -> pb.GetVolumeResponse:
        shown = self._to_pb(self._volumes.find(request.name))
        if request.size:
            shown.size_bytes = await self._volumes.size_bytes(shown.name)
        return pb.GetVolumeResponse(volume=shown)

    async def RemoveVolume(
        self, request: pb.RemoveVolumeRequest, context: Context
    ) -> pb.RemoveVolumeResponse:
        await self._volumes.remove(request.name, missing_is_fine=request.force)
        return pb.RemoveVolumeResponse()

    async def PruneVolumes(
        self, request: pb.PruneVolumesRequest, context: Context
    ) -> pb.PruneVolumesResponse:
        wanted = from_lists((key, value.values) for key, value in request.filters.items())
        if request.all:
            wanted["all"] = ("true",)
        filters.check_prune(wanted)
        response = pb.PruneVolumesResponse()
        for volume in self._volumes.prunable(wanted):
            size_bytes = await self._volumes.size_bytes(volume.name)
            if await self._volumes.remove_unused(volume.name):
                response.deleted.append(volume.name)
                response.reclaimed_bytes += size_bytes
        self._volumes.tell_pruned(response.reclaimed_bytes)
        return response

    async def ExportVolume(  # type: ignore[override] # it writes through the context, to see who takes nothing
        self, request: pb.ExportVolumeRequest, context: Context
    ) -> None:
        await self._transfer.export(
            request.name, lambda chunk: context.write(pb.ExportVolumeResponse(chunk=chunk))
        )

    async def ImportVolume(
        self, request_iterator: AsyncIterator[pb.ImportVolumeRequest], context: Context
    ) -> pb.ImportVolumeResponse:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "spec":
            raise errors.Invalid("the first message of an import says which volume", reason="SPEC_INVALID")
        await self._transfer.receive(first.spec.name, _chunks(request_iterator))
        return pb.ImportVolumeResponse()

    async def CloneVolume(self, request: pb.CloneVolumeRequest, context: Context) -> pb.CloneVolumeResponse:
        made = await self._copies.clone(request.source, request.target)
        return pb.CloneVolumeResponse(volume=self._to_pb(made))

    def _to_pb(self, volume: Volume, count: int | None = None) -> pb.Volume:
        return pb.Volume(
            name=volume.name,
            driver=volume.driver,
            mountpoint=str(self._volumes.place(volume.name)),
            labels=dict(volume.labels),
            options=dict(volume.options),
            created_at=timestamp(volume.created_at),
            anonymous=volume.anonymous,
            container_count=len(self._volumes.users(volume.name)) if count is None else count,
        )


async def _chunks(requests: AsyncIterator[pb.ImportVolumeRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.chunk
