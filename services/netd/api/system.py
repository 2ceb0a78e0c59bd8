"""SystemService: what the daemon says about itself."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.system.v1 import system_pb2 as pb
from beeyard.system.v1 import system_pb2_grpc
from services.kit.rpc.types import Context
from services.kit.version import VERSION
from services.netd.ledger import Ledger
from services.netd.model.network import Driver
from services.netd.upkeep import Upkeep

_DAEMON = "netd"
_APIS = ("beeyard.network.v1", "beeyard.system.v1")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What does not change while the daemon runs."""

    state_dir: Path
    started_at: datetime
    components: Mapping[str, str]


class SystemService(system_pb2_grpc.SystemServiceServicer):
    """About this daemon."""

    def __init__(self, ledger: Ledger, upkeep: Upkeep, facts: Facts) -> None:
        self._ledger = ledger
        self._upkeep = upkeep
        self._facts = facts

    async def Ping(self, request: pb.PingRequest, context: Context) -> pb.PingResponse:
        return pb.PingResponse(daemon=_DAEMON)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(
            daemon=_DAEMON,
            version=VERSION,
            apis=_APIS,
            python_version=platform.python_version(),
            kernel_version=platform.release(),
            os="linux",
            arch=_ARCHITECTURES.get(platform.machine(), platform.machine()),
            components=dict(self._facts.components),
        )

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        state = self._ledger.state
        started_at = Timestamp()
        started_at.FromDatetime(self._facts.started_at)
        facts = (
            ("NETWORK_DRIVERS", "Network Drivers", " ".join(Driver)),
            ("NETWORKS", "Networks", str(len(state.networks))),
            ("SANDBOXES", "Sandboxes", str(len(state.sandboxes))),
            ("PUBLISHED_PORTS", "Published Ports", str(sum(map(len, state.reservations.values())))),
        )
        return pb.GetInfoResponse(
            daemon=_DAEMON,
            started_at=started_at,
            hostname=socket.gethostname(),
            operating_system=_operating_system(),
            cpus=os.cpu_count() or 0,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            state_dir=str(self._facts.state_dir),
            facts=[pb.InfoFact(key=key, label=label, value=value) for key, label, value in facts],
            warnings=await self._upkeep.obstacles(),
        )

    async def GetDiskUsage(
        self, request: pb.GetDiskUsageRequest, context: Context
    ) -> pb.GetDiskUsageResponse:
        return pb.GetDiskUsageResponse()  # netd keeps none of the kinds that this is about


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
