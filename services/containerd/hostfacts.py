"""Reads what `ocispec` needs to know of this machine. Once, at the daemon's start."""

from __future__ import annotations

import os
import platform
import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.ocispec import capabilities, rlimits
from services.containerd.ocispec.facts import HostFacts

if TYPE_CHECKING:
    from services.containerd.cgroups.hierarchy import Hierarchies

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_CAP_SYS_RESOURCE = "CAP_SYS_RESOURCE"


def read(hierarchies: Hierarchies, *, apparmor: bool = False, apparmor_default: str = "") -> HostFacts:
    """Return the facts; those about AppArmor are told."""
    held = capabilities.from_mask(_status_mask("CapPrm") & _status_mask("CapBnd"))
    return HostFacts(
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=_kernel(platform.release()),
        cgroup_version=hierarchies.version,
        capabilities=held,
        hard_limits={} if _CAP_SYS_RESOURCE in held else _hard_limits(),
        swap_limit=_swap_limit(hierarchies),
        cpu_realtime=_cpu_realtime(hierarchies),
        oom_score_adj_min=-1000 if _CAP_SYS_RESOURCE in held else _own_oom_score_adj(),
        apparmor=apparmor,
        apparmor_default=apparmor_default,
        cpus=os.cpu_count() or 1,
        cpus_online=_online("cpu"),
        memory_nodes_online=_online("node"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _online(kind: str) -> str:
    try:
        return Path(f"/sys/devices/system/{kind}/online").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _status_mask(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    match = re.search(rf"^{name}:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(match[1], 16) if match else 0


def _kernel(release: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _hard_limits() -> dict[str, int]:
    limits: dict[str, int] = {}
    for name in rlimits.NAMES:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            hard = resource.getrlimit(number)[1]
            limits[name] = -1 if hard == resource.RLIM_INFINITY else hard
    return limits


def _cpu_realtime(hierarchies: Hierarchies) -> bool:
    cpu = hierarchies.v1.get("cpu")
    return hierarchies.version == 1 and cpu is not None and (cpu / "cpu.rt_runtime_us").exists()


def _own_oom_score_adj() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


def _swap_limit(hierarchies: Hierarchies) -> bool:
    if hierarchies.version == 2:
        # Part of the controller, unless the kernel has no swap at all; the root group has neither file.
        root = hierarchies.unified
        groups = [] if root is None else [path.parent for path in root.glob("*/memory.max")]
        return not groups or any((group / "memory.swap.max").exists() for group in groups)
    memory = hierarchies.v1.get("memory")
    return memory is not None and (memory / "memory.memsw.limit_in_bytes").exists()
