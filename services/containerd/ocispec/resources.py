"""Limits: what `docker run` calls them to what the OCI specification calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.model.spec import DeviceLimit, Resources
    from services.containerd.ocispec.facts import HostFacts, Section

MEMORY_MIN_BYTES = 6 << 20  # less does not hold the runtime's own init
CPU_PERIOD_DEFAULT_US = 100_000
_CPU_PERIOD_RANGE_US = (1_000, 1_000_000)
_CPU_QUOTA_MIN_US = 1_000
_BLKIO_WEIGHT_RANGE = (10, 1_000)
_INT64_MAX = 2**63 - 1


def check(resources: Resources, host: HostFacts) -> None:
    """Refuse limits that contradict each other or that this machine cannot keep.

    Raises:
        errors.Invalid: With a message that names the flag.
    """
    _check_memory(resources)
    _check_cpu(resources, host)
    low, high = _BLKIO_WEIGHT_RANGE
    if resources.blkio_weight and not low <= resources.blkio_weight <= high:
        raise _invalid(f"blkio-weight {resources.blkio_weight} is not between {low} and {high}")
    if not -1_000 <= resources.oom_score_adj <= 1_000:
        raise _invalid(f"oom-score-adj {resources.oom_score_adj} is not between -1000 and 1000")


def swap_bytes(resources: Resources) -> int:
    """Return memory and swap together as they are to be limited: -1 for no limit, 0 for none set."""
    if not resources.memory_bytes:
        return 0
    return resources.memory_swap_bytes or min(2 * resources.memory_bytes, _INT64_MAX)


def cpu_quota(resources: Resources) -> tuple[int, int]:
    """Return the CFS quota and period in microseconds; 0 leaves the kernel's."""
    if resources.nano_cpus:
        return resources.nano_cpus * CPU_PERIOD_DEFAULT_US // 1_000_000_000, CPU_PERIOD_DEFAULT_US
    return resources.cpu_quota_us, resources.cpu_period_us


def section(
    resources: Resources, host: HostFacts, block_numbers: Mapping[str, tuple[int, int]]
) -> tuple[Section, list[str]]:
    """Return `linux.resources` without its device rules, and warnings for what this machine does not honour."""
    warnings: list[str] = []
    built: Section = {}
    memory = _memory(resources, host, warnings)
    if memory:
        built["memory"] = memory
    cpu = _cpu(resources)
    if cpu:
        built["cpu"] = cpu
    if resources.pids_max > 0:
        built["pids"] = {"limit": resources.pids_max}
    block_io = _block_io(resources, block_numbers)
    if block_io:
        built["blockIO"] = block_io
    return built, warnings


def _memory(resources: Resources, host: HostFacts, warnings: list[str]) -> Section:
    memory: Section = {}
    if resources.memory_bytes:
        memory["limit"] = resources.memory_bytes
        if host.swap_limit:
            memory["swap"] = swap_bytes(resources)
        else:
            warnings.append("this kernel does not account swap: memory is limited without swap")
    if resources.memory_reservation_bytes:
        memory["reservation"] = resources.memory_reservation_bytes
    if resources.memory_swappiness is not None:
        if host.cgroup_version == 1:
            memory["swappiness"] = resources.memory_swappiness
        else:
            warnings.append("memory-swappiness has no effect with cgroup v2: discarded")
    if resources.oom_kill_disable:
        if host.cgroup_version == 1:
            memory["disableOOMKiller"] = True
            if not resources.memory_bytes:
                warnings.append(
                    "OOM killer is disabled for the container, but no memory limit is set, this can result in the"
                    " system running out of resources."
                )
        else:
            warnings.append("oom-kill-disable has no effect with cgroup v2: discarded")
    return memory


def _cpu(resources: Resources) -> Section:
    quota, period = cpu_quota(resources)
    candidates: dict[str, int | str] = {
        "shares": resources.cpu_shares,
        "quota": max(quota, 0),  # -1, no limit, is what a new group has; crun cannot say it on v1
        "period": period,
        "realtimeRuntime": resources.cpu_rt_runtime_us,
        "realtimePeriod": resources.cpu_rt_period_us,
        "cpus": resources.cpuset_cpus,
        "mems": resources.cpuset_mems,
    }
    return {name: value for name, value in candidates.items() if value}


def _block_io(resources: Resources, numbers: Mapping[str, tuple[int, int]]) -> Section:
    built: Section = {}
    if resources.blkio_weight:
        built["weight"] = resources.blkio_weight
    if resources.blkio_weight_device:
        built["weightDevice"] = _throttles(resources.blkio_weight_device, numbers, "weight")
    for name, limits in (
        ("throttleReadBpsDevice", resources.device_read_bps),
        ("throttleWriteBpsDevice", resources.device_write_bps),
        ("throttleReadIOPSDevice", resources.device_read_iops),
        ("throttleWriteIOPSDevice", resources.device_write_iops),
    ):
        if limits:
            built[name] = _throttles(limits, numbers, "rate")
    return built


def _throttles(
    limits: Iterable[DeviceLimit], numbers: Mapping[str, tuple[int, int]], value_name: str
) -> list[Section]:
    entries: list[Section] = []
    for limit in limits:
        major, minor = numbers[limit.path]
        entries.append({"major": major, "minor": minor, value_name: limit.value})
    return entries


def _check_memory(resources: Resources) -> None:
    memory, swap = resources.memory_bytes, resources.memory_swap_bytes
    if memory < 0 or (memory and memory < MEMORY_MIN_BYTES):
        raise _invalid(f"memory limit {memory} is below the minimum of 6 MiB")
    if swap and not memory:
        raise _invalid("memory-swap needs a memory limit: give --memory as well")
    if swap > 0 and swap < memory:
        raise _invalid(f"memory-swap {swap} is below the memory limit {memory}: it counts both together")
    if swap < -1:
        raise _invalid(f"memory-swap {swap} is neither a size nor -1")
    reservation = resources.memory_reservation_bytes
    if reservation < 0 or (memory and reservation > memory):
        raise _invalid(f"memory-reservation {reservation} is above the memory limit {memory}")
    if resources.memory_swappiness is not None and not 0 <= resources.memory_swappiness <= 100:
        raise _invalid(f"memory-swappiness {resources.memory_swappiness} is not between 0 and 100")


def _check_cpu(resources: Resources, host: HostFacts) -> None:
    if resources.nano_cpus and (resources.cpu_quota_us or resources.cpu_period_us):
        raise _invalid("cpus cannot be combined with cpu-quota or cpu-period: it is a short form of them")
    if not 0 <= resources.nano_cpus <= host.cpus * 1_000_000_000:
        asked = resources.nano_cpus / 1_000_000_000
        raise _invalid(f"cpus {asked:g} is not between 0.01 and {host.cpus}, the processors of this node")
    if 0 < resources.nano_cpus < 10_000_000:
        raise _invalid("cpus is below the minimum of 0.01")
    low, high = _CPU_PERIOD_RANGE_US
    if resources.cpu_period_us and not low <= resources.cpu_period_us <= high:
        raise _invalid(f"cpu-period {resources.cpu_period_us} is not between {low} and {high} microseconds")
    if resources.cpu_quota_us and resources.cpu_quota_us != -1 and resources.cpu_quota_us < _CPU_QUOTA_MIN_US:
        raise _invalid(
            f"cpu-quota {resources.cpu_quota_us} is below the minimum of {_CPU_QUOTA_MIN_US} microseconds"
        )
    for flag, what, text, available in (
        ("cpuset-cpus", "CPUs", resources.cpuset_cpus, host.cpus_online),
        ("cpuset-mems", "memory nodes", resources.cpuset_mems, host.memory_nodes_online),
    ):
        if text and (missing := parse_set(text, flag)) and available:
            missing -= parse_set(available, flag)
            if missing:
                raise _invalid(
                    f"Requested {what} are not available - requested {text}, available: {available}"
                )


def parse_set(text: str, flag: str) -> frozenset[int]:
    """Return the members of a list such as "0-3,7".

    Raises:
        errors.Invalid: It does not parse, or is absurdly large.
    """
    members: set[int] = set()
    for part in text.split(","):
        first, separator, last = part.partition("-")
        bounds = (first, last if separator else first)
        if not all(bound.isascii() and bound.isdecimal() and len(bound) <= 4 for bound in bounds):
            raise _invalid(f"{flag} {text!r} is not a list such as 0-3,7")
        low, high = int(bounds[0]), int(bounds[1])
        if high < low:
            raise _invalid(f"{flag} {text!r}: the range {part} runs backwards")
        members.update(range(low, high + 1))
    return frozenset(members)


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="SPEC_INVALID")
