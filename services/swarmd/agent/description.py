"""What this node says of itself to the swarm."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGINS = (
    "Log/journald",
    "Log/k8s-file",
    "Log/none",
    "Network/bridge",
    "Network/host",
    "Network/none",
)


class Description:
    """Describes the node. Processors and memory are read anew each time: both can change under a virtual machine."""

    def __init__(
        self, *, hostname: str, engine_version: str, engine_labels: Mapping[str, str], address: str
    ) -> None:
        self._hostname = hostname
        self._engine_version = engine_version
        self._engine_labels = dict(engine_labels)
        self._address = address

    def __call__(self) -> objects_pb2.NodeDescription:
        """Return the description as of now."""
        return objects_pb2.NodeDescription(
            hostname=self._hostname,
            os=platform.system().lower(),
            architecture=platform.machine(),
            resources=objects_pb2.NodeResources(
                nano_cpus=len(os.sched_getaffinity(0)) * 1_000_000_000, memory_bytes=_memory_bytes()
            ),
            engine_version=self._engine_version,
            engine_labels=self._engine_labels,
            address=self._address,
            plugins=PLUGINS,
        )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
