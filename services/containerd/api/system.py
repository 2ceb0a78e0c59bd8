"""SystemService: what the daemon says about itself."""

# ruff: noqa: N802, ARG002 (the protos name the methods and their arguments)

from __future__ import annotations

import contextlib
import platform
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from beeyard.system.v1 import system_pb2 as pb
from beeyard.system.v1 import system_pb2_grpc
from services.containerd.api.status_to_pb import timestamp
from services.containerd.logs import files
from services.containerd.model.status import State
from services.kit import errors
from services.kit.version import VERSION

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.neighbours.images import Images
    from services.containerd.volumes.volumes import Volumes
    from services.kit.rpc.types import Context

_DAEMON = "containerd"
_LIVE = frozenset({State.RUNNING, State.PAUSED, State.RESTARTING})


class SystemService(system_pb2_grpc.SystemServiceServicer):
    """About this daemon."""

    def __init__(
        self,
        engine: Engine,
        machine: Machine,
        images: Images,
        volumes: Volumes,
        *,
        conmon_version: str,
        started_at: datetime,
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._images = images
        self._volumes = volumes
        self._conmon_version = conmon_version
        self._started_at = started_at

    async def Ping(self, request: pb.PingRequest, context: Context) -> pb.PingResponse:
        return pb.PingResponse(daemon=_DAEMON)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        flavours = self._machine.flavours.values()
        return pb.GetVersionResponse(
            daemon=_DAEMON,
            version=VERSION,
            apis=["beeyard.container.v1", "beeyard.system.v1"],
            python_version=platform.python_version(),
            kernel_version=platform.release(),
            os="linux",
            arch=self._machine.host.architecture,
            components={
                "conmon": self._conmon_version,
                **{flavour.name: flavour.version for flavour in flavours},
            },
        )

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        host = self._machine.host
        states = [actor.status.state for actor in self._engine.all()]
        facts = (
            ("CONTAINERS", "Containers", str(len(states))),
            ("CONTAINERS_RUNNING", "Running", str(states.count(State.RUNNING))),
            ("CONTAINERS_PAUSED", "Paused", str(states.count(State.PAUSED))),
            ("CONTAINERS_STOPPED", "Stopped", str(sum(state not in _LIVE for state in states))),
            ("RUNTIMES", "Runtimes", " ".join(self._machine.flavours)),
            ("DEFAULT_RUNTIME", "Default Runtime", next(iter(self._machine.flavours))),
            ("CGROUP_VERSION", "Cgroup Version", str(host.cgroup_version)),
            ("CGROUP_PARENT", "Cgroup Parent", self._machine.cgroup_parent),
            ("LOG_DRIVER", "Logging Driver", self._machine.log_default.driver),
            ("SECURITY", "Security Options", "seccomp, apparmor" if host.apparmor else "seccomp"),
        )
        return pb.GetInfoResponse(
            daemon=_DAEMON,
            started_at=timestamp(self._started_at),
            hostname=socket.gethostname(),
            operating_system=_operating_system(),
            cpus=host.cpus,
            memory_bytes=host.memory_bytes,
            state_dir=str(self._machine.layout.state),
            facts=[pb.InfoFact(key=key, label=label, value=value) for key, label, value in facts],
            warnings=[]
            if host.swap_limit
            else ["this kernel does not account swap: memory is limited without it"],
        )

    async def GetDiskUsage(
        self, request: pb.GetDiskUsageRequest, context: Context
    ) -> pb.GetDiskUsageResponse:
        containers = pb.DiskUsage(kind="containers")
        for actor in list(self._engine.all()):
            with contextlib.suppress(errors.NotFound):  # removed meanwhile
                size_bytes = await self._images.usage_bytes(actor.record.id)
                size_bytes += files.total_bytes(self._machine.layout.log(actor.record.id))
                _count(containers, size_bytes, active=actor.status.state in _LIVE)
        volumes = pb.DiskUsage(kind="volumes")
        counts = self._volumes.counts()
        for volume in self._volumes.all():
            with contextlib.suppress(errors.NotFound):
                size_bytes = await self._volumes.size_bytes(volume.name)
                _count(volumes, size_bytes, active=counts[volume.name] > 0)
        return pb.GetDiskUsageResponse(usage=[containers, volumes])


def _count(usage: pb.DiskUsage, size_bytes: int, *, active: bool) -> None:
    usage.total_count += 1
    usage.size_bytes += size_bytes
    usage.active_count += active
    usage.reclaimable_bytes += 0 if active else size_bytes


def _operating_system() -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "Linux"
    values = dict(line.partition("=")[::2] for line in lines if "=" in line)
    return values.get("PRETTY_NAME", "Linux").strip('"')
