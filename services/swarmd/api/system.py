"""SystemService of swarmd."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)
from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Final, Protocol

from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.swarmd.members.images import architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from services.kit.rpc.types import Context

DAEMON: Final = "swarmd"
APIS: Final = ("beeyard.swarm.v1",)


class FactsPort(Protocol):
    """What the node can say of itself, for people and programs."""

    def facts(self) -> Sequence[tuple[str, str, str]]:
        """Return (key, label, value) in a stable order."""
        ...

    def warnings(self) -> Sequence[str]:
        """Return what is not as it should be."""
        ...


class SystemServicer(system_pb2_grpc.SystemServiceServicer):
    """Answers while the node is in any state."""

    def __init__(
        self, *, facts: FactsPort, hostname: str, version: str, state_dir: Path, started_at: datetime
    ) -> None:
        self._facts = facts
        self._hostname = hostname
        self._version = version
        self._state_dir = state_dir
        self._started_at = started_at

    async def Ping(self, request: system_pb2.PingRequest, context: Context) -> system_pb2.PingResponse:
        """Answer."""
        return system_pb2.PingResponse(daemon=DAEMON)

    async def GetVersion(
        self, request: system_pb2.GetVersionRequest, context: Context
    ) -> system_pb2.GetVersionResponse:
        """Name the build."""
        return system_pb2.GetVersionResponse(
            daemon=DAEMON,
            version=self._version,
            apis=APIS,
            python_version=platform.python_version(),
            kernel_version=platform.release(),
            os=platform.system().lower(),
            arch=architecture(),
        )

    async def GetInfo(
        self, request: system_pb2.GetInfoRequest, context: Context
    ) -> system_pb2.GetInfoResponse:
        """Tell what the node is in its swarm."""
        response = system_pb2.GetInfoResponse(
            daemon=DAEMON,
            hostname=self._hostname,
            operating_system=_operating_system(),
            cpus=os.cpu_count() or 0,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            state_dir=str(self._state_dir),
            facts=[
                system_pb2.InfoFact(key=key, label=label, value=value)
                for key, label, value in self._facts.facts()
            ],
            warnings=self._facts.warnings(),
        )
        response.started_at.FromDatetime(self._started_at)
        return response

    async def GetDiskUsage(
        self, request: system_pb2.GetDiskUsageRequest, context: Context
    ) -> system_pb2.GetDiskUsageResponse:
        """Tell nothing: what swarmd keeps is not for users to prune."""
        return system_pb2.GetDiskUsageResponse()


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()
