"""SystemService: what the daemon says about itself."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.imaged import streams
from services.imaged.api import convert
from services.imaged.images import disk_use
from services.kit.version import VERSION

if TYPE_CHECKING:
    from datetime import datetime

    from services.imaged.images.catalog import Catalog
    from services.imaged.model.platform import Platform
    from services.imaged.store.blobs import BlobStore
    from services.kit.rpc.types import Context

_DAEMON = "imaged"
_APIS = ("beeyard.image.v1", "beeyard.system.v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What does not change while the daemon runs."""

    state_dir: Path
    driver: str
    node_platform: Platform
    started_at: datetime


class SystemApi(system_pb2_grpc.SystemServiceServicer):
    """See system.proto."""

    def __init__(self, facts: Facts, catalog: Catalog, blobs: BlobStore) -> None:
        self._facts = facts
        self._catalog = catalog
        self._blobs = blobs

    async def Ping(self, request: system_pb2.PingRequest, context: Context) -> system_pb2.PingResponse:
        """Answer."""
        return system_pb2.PingResponse(daemon=_DAEMON)

    async def GetVersion(
        self, request: system_pb2.GetVersionRequest, context: Context
    ) -> system_pb2.GetVersionResponse:
        """Name the build."""
        return system_pb2.GetVersionResponse(
            daemon=_DAEMON,
            version=VERSION,
            apis=_APIS,
            python_version=platform.python_version(),
            kernel_version=platform.release(),
            os="linux",
            arch=self._facts.node_platform.architecture,
        )

    async def GetInfo(
        self, request: system_pb2.GetInfoRequest, context: Context
    ) -> system_pb2.GetInfoResponse:
        """Tell the settings and what was found."""
        views = await self._catalog.views()
        status = os.statvfs(self._facts.state_dir)
        facts = (
            ("IMAGES", "Images", str(len(views))),
            ("STORAGE_DRIVER", "Storage Driver", self._facts.driver),
            ("PLATFORM", "Image Platform", str(self._facts.node_platform)),
            ("FREE_BYTES", "Free Bytes", str(status.f_bavail * status.f_frsize)),
        )
        return system_pb2.GetInfoResponse(
            daemon=_DAEMON,
            started_at=convert.timestamp(self._facts.started_at),
            hostname=socket.gethostname(),
            operating_system=_operating_system(),
            cpus=os.cpu_count() or 0,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            state_dir=str(self._facts.state_dir),
            facts=[system_pb2.InfoFact(key=key, label=label, value=value) for key, label, value in facts],
            warnings=["images are kept as whole copies: the vfs driver is slow and large"]
            if self._facts.driver == "vfs"
            else [],
        )

    async def GetDiskUsage(
        self, request: system_pb2.GetDiskUsageRequest, context: Context
    ) -> system_pb2.GetDiskUsageResponse:
        """Sum what the images take: unpacked layers and stored blobs, each counted once."""
        views = await self._catalog.views()
        content = await streams.in_thread(self._content_bytes)
        return system_pb2.GetDiskUsageResponse(
            usage=[
                system_pb2.DiskUsage(
                    kind="images",
                    total_count=len(views),
                    active_count=sum(1 for view in views if view.users),
                    size_bytes=sum(disk_use.layers(views).values()) + content,
                    reclaimable_bytes=disk_use.reclaimable_bytes(views),
                )
            ]
        )

    def _content_bytes(self) -> int:
        infos = (self._blobs.stat(digest) for digest in self._blobs.all())
        return sum(info.size_bytes for info in infos if info is not None)


def _operating_system() -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "Linux"
    values = dict(line.partition("=")[::2] for line in lines if "=" in line)
    return values.get("PRETTY_NAME", "Linux").strip('"')
