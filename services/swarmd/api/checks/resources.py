"""Limits and reservations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.swarmd.api.checks.refusal import invalid, shown

if TYPE_CHECKING:
    from beeyard.container.v1 import spec_pb2
    from beeyard.swarm.v1 import objects_pb2

NANO_CPUS_MIN = 1_000_000
MEMORY_BYTES_MIN = 4 << 20
PIDS_UNLIMITED = -1
SWAPPINESS_MAX = 100
BLKIO_WEIGHT_MIN, BLKIO_WEIGHT_MAX = 10, 1000
OOM_SCORE_ADJ_MAX = 1000
SHM_BYTES_MAX = 1 << 50

_KIND = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
_CPUSET = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?){0,1000}")
_ULIMIT = re.compile(r"[a-z]{1,16}")


def check_reservations(field: str, reservations: objects_pb2.NodeResources) -> None:
    """Check what a task reserves on its node."""
    _check_cpus(f"{field}.nano_cpus", reservations.nano_cpus)
    _check_memory(f"{field}.memory_bytes", reservations.memory_bytes)
    for kind, count in reservations.generic.items():
        if _KIND.fullmatch(kind) is None:
            raise invalid(f"{field}.generic", f"{shown(kind)} is not a name of a resource")
        if count <= 0:
            raise invalid(f"{field}.generic", f"{count} of {kind} cannot be reserved: at least 1")


def check_limits(field: str, resources: spec_pb2.Resources) -> None:
    """Check the limits of a container."""
    _check_cpus(f"{field}.nano_cpus", resources.nano_cpus)
    _check_memory(f"{field}.memory_bytes", resources.memory_bytes)
    _check_memory(f"{field}.memory_reservation_bytes", resources.memory_reservation_bytes)
    if resources.memory_bytes and resources.memory_reservation_bytes > resources.memory_bytes:
        raise invalid(f"{field}.memory_reservation_bytes", "it is more than the limit of memory")
    _check_swap(f"{field}.memory_swap_bytes", resources)
    if resources.HasField("memory_swappiness") and resources.memory_swappiness > SWAPPINESS_MAX:
        raise invalid(f"{field}.memory_swappiness", f"{resources.memory_swappiness} is not in 0-100")
    if abs(resources.oom_score_adj) > OOM_SCORE_ADJ_MAX:
        raise invalid(f"{field}.oom_score_adj", f"{resources.oom_score_adj} is not in -1000-1000")
    if resources.pids_limit < PIDS_UNLIMITED:
        raise invalid(f"{field}.pids_limit", f"{resources.pids_limit} is negative: -1 is without limit")
    if resources.nano_cpus and (resources.cpu_period_us or resources.cpu_quota_us):
        raise invalid(f"{field}.nano_cpus", "a number of CPUs and a CFS period or quota exclude each other")
    weight = resources.blkio_weight
    if weight and not BLKIO_WEIGHT_MIN <= weight <= BLKIO_WEIGHT_MAX:
        raise invalid(f"{field}.blkio_weight", f"{weight} is not in {BLKIO_WEIGHT_MIN}-{BLKIO_WEIGHT_MAX}")
    for name, cpuset in (("cpuset_cpus", resources.cpuset_cpus), ("cpuset_mems", resources.cpuset_mems)):
        if cpuset and _CPUSET.fullmatch(cpuset) is None:
            raise invalid(f"{field}.{name}", f"{shown(cpuset)} is not a list such as 0-3,7")
    if resources.shm_bytes > SHM_BYTES_MAX:
        raise invalid(f"{field}.shm_bytes", f"{resources.shm_bytes} bytes are more than any machine has")
    for ulimit in resources.ulimits:
        _check_ulimit(f"{field}.ulimits", ulimit)


def _check_cpus(field: str, nano_cpus: int) -> None:
    if nano_cpus and nano_cpus < NANO_CPUS_MIN:
        raise invalid(field, f"invalid cpu value {nano_cpus / 1e9:g}: must be at least 0.001")


def _check_memory(field: str, memory_bytes: int) -> None:
    if memory_bytes and memory_bytes < MEMORY_BYTES_MIN:
        raise invalid(field, f"invalid memory value {memory_bytes}: must be at least 4 MiB")


def _check_swap(field: str, resources: spec_pb2.Resources) -> None:
    swap = resources.memory_swap_bytes
    if swap < -1:
        raise invalid(field, f"{swap} is negative: -1 is without limit")
    if swap > 0 and not resources.memory_bytes:
        raise invalid(field, "a limit of memory and swap needs a limit of memory")
    if 0 < swap < resources.memory_bytes:
        raise invalid(field, "memory and swap together cannot be less than the memory")


def _check_ulimit(field: str, ulimit: spec_pb2.Ulimit) -> None:
    if _ULIMIT.fullmatch(ulimit.name) is None:
        raise invalid(field, f"{shown(ulimit.name)} is not a name of a ulimit")
    if ulimit.soft < -1 or ulimit.hard < -1:
        raise invalid(field, f"{ulimit.name}: -1 is without limit, less means nothing")
    unlimited_soft = ulimit.soft == -1 and ulimit.hard != -1
    if unlimited_soft or (ulimit.hard != -1 and ulimit.soft > ulimit.hard):
        raise invalid(
            field, f"{ulimit.name}: the soft limit {ulimit.soft} is above the hard limit {ulimit.hard}"
        )
