"""A client of VolumeService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from beeyard.container.v1 import filter_pb2, volume_pb2, volume_pb2_grpc
from services.kit.rpc import client
from tests.component.containerd.yard import Yard


class Calls:
    """Calls about the volumes of a yard."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.stub = volume_pb2_grpc.VolumeServiceStub(yard.channel)
        self.directory: Path = yard.root / "containerd/volumes"

    async def create(self, name: str, **fields: Any) -> volume_pb2.Volume:
        """Make a volume."""
        request = volume_pb2.CreateVolumeRequest(name=name, **fields)
        return (await client.call(self.stub.CreateVolume(request))).volume

    async def get(self, name: str, *, size: bool = False) -> volume_pb2.Volume:
        """Return a volume."""
        request = volume_pb2.GetVolumeRequest(name=name, size=size)
        return (await client.call(self.stub.GetVolume(request))).volume

    async def names(self, **filters: list[str]) -> list[str]:
        """Return the names of volumes."""
        wanted = {key: filter_pb2.StringList(values=values) for key, values in filters.items()}
        response = await client.call(self.stub.ListVolumes(volume_pb2.ListVolumesRequest(filters=wanted)))
        return [volume.name for volume in response.volumes]

    async def remove(self, name: str) -> None:
        """Remove a volume."""
        await client.call(self.stub.RemoveVolume(volume_pb2.RemoveVolumeRequest(name=name)))

    async def prune(self, **fields: Any) -> list[str]:
        """Remove unused ones; return their names."""
        response = await client.call(self.stub.PruneVolumes(volume_pb2.PruneVolumesRequest(**fields)))
        return list(response.deleted)

    async def export(self, name: str) -> bytes:
        """Return the archive of a volume."""
        stream = client.stream(self.stub.ExportVolume(volume_pb2.ExportVolumeRequest(name=name)))
        return b"".join([response.chunk async for response in stream])

    async def receive(self, name: str, archive: bytes) -> None:
        """Import an archive."""

        async def requests() -> AsyncIterator[volume_pb2.ImportVolumeRequest]:
            yield volume_pb2.ImportVolumeRequest(spec=volume_pb2.ImportVolumeSpec(name=name))
            for start in range(0, len(archive), 1000):
                yield volume_pb2.ImportVolumeRequest(chunk=archive[start : start + 1000])

        await client.call(self.stub.ImportVolume(requests()))

    async def clear(self) -> None:
        """Remove all volumes that no container has."""
        await self.prune(all=True)
