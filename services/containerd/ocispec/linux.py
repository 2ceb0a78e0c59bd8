"""The `linux` object: namespaces, cgroup, masks, sysctls; limits and devices come from their own modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.ocispec import devices, resources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.containerd.model.spec import ContainerSpec, Security
    from services.containerd.ocispec.facts import BoundFile, HostFacts, Placement, Section

# Docker's lists. /proc/acpi let a container cut the host's power (CVE-2018-10892); powercap and thermal_throttle leak
# timing that is enough for side channels.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CGROUP_ROOT = "/sys/fs/cgroup"
_PING_GROUPS_ALL = "0 2147483647"


def section(spec: ContainerSpec, placement: Placement, host: HostFacts) -> tuple[Section, list[str]]:
    """Return the object and warnings for what this machine does not honour."""
    limits, warnings = resources.section(spec.resources, host, placement.block_numbers)
    security = spec.security
    limits["devices"] = devices.cgroup_rules(
        placement.devices, security.device_cgroup_rules, privileged=security.privileged
    )
    built: Section = {
        "cgroupsPath": placement.cgroup_path,
        "namespaces": _namespaces(spec, placement, host),
        "resources": limits,
    }
    propagation = _rootfs_propagation(placement.binds)
    if propagation:
        built["rootfsPropagation"] = propagation
    if placement.devices:
        built["devices"] = devices.nodes(placement.devices)
    if placement.ids is not None:
        # Of the namespace at the path already; runc wants to be told them too.
        mapping = [{"containerID": 0, "hostID": placement.ids.start, "size": placement.ids.size}]
        built["uidMappings"], built["gidMappings"] = mapping, mapping
    sysctls = _sysctls(spec, placement)
    if sysctls:
        built["sysctl"] = sysctls
    masked, read_only = closed_paths(security, host)
    if _cgroup_root_is_writable(spec, placement, host):
        read_only.append(_CGROUP_ROOT)
    if masked or read_only:
        built["maskedPaths"], built["readonlyPaths"] = masked, read_only
    if placement.seccomp is not None:
        built["seccomp"] = placement.seccomp.section
    return built, warnings


def closed_paths(security: Security, host: HostFacts) -> tuple[list[str], list[str]]:
    """Return the paths that are masked, and those that are read-only."""
    if security.privileged or security.systempaths_unconfined:
        return [], []
    return (
        [*MASKED_PATHS, *_thermal(host), *security.masked_paths],
        [*READ_ONLY_PATHS, *security.read_only_paths],
    )


def _cgroup_root_is_writable(spec: ContainerSpec, placement: Placement, host: HostFacts) -> bool:
    """On v1 the runtimes gather the hierarchies below a tmpfs that stays writable, whatever the mount's options say."""
    if host.cgroup_version != 1 or not spec.security.read_only_root or spec.security.privileged:
        return False
    users = {bind.target for bind in placement.binds} | {mount.target for mount in placement.tmpfs}
    return _CGROUP_ROOT not in users


def _namespaces(spec: ContainerSpec, placement: Placement, host: HostFacts) -> list[Section]:
    security = spec.security
    namespaces: list[Section] = [{"type": "mount"}]
    if placement.netns_path is not None:
        namespaces.append(_namespace("network", placement.netns_path))
    if placement.user_namespace_path:
        namespaces.append(_namespace("user", placement.user_namespace_path))
    # Docker's default: on v1 the host's hierarchy is shown read-only, on v2 the container sees itself as the root.
    cgroup_mode = security.cgroupns or ("private" if host.cgroup_version == 2 else "host")
    for kind, mode in {**security.modes, "cgroup": cgroup_mode}.items():
        if not mode.startswith("container:"):
            namespaces += [] if mode == "host" else [_namespace(kind, "")]
        elif kind in placement.shared_namespaces:
            namespaces.append(_namespace(kind, placement.shared_namespaces[kind]))
    return namespaces


def _namespace(kind: str, path: str) -> Section:
    return {"type": kind, "path": path} if path else {"type": kind}


def _sysctls(spec: ContainerSpec, placement: Placement) -> dict[str, str]:
    sysctls: dict[str, str] = {}
    own_network = placement.netns_path is not None and not spec.network.mode.startswith("container:")
    if own_network:
        # Both make CAP_NET_RAW and CAP_NET_BIND_SERVICE unnecessary for programs that run as a user.
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
        # Groups that are not mapped are refused in a user namespace.
        ids = placement.ids
        sysctls["net.ipv4.ping_group_range"] = _PING_GROUPS_ALL if ids is None else f"0 {ids.size - 1}"
    if spec.network.domainname and spec.security.own_uts and placement.ids is None:
        # Runtimes that do not know `domainname` yet know this; a user namespace does not own the parameter.
        sysctls["kernel.domainname"] = spec.network.domainname
    return {**sysctls, **spec.security.sysctls}


def _rootfs_propagation(binds: Iterable[BoundFile]) -> str:
    """A shared mount inside needs a root that is shared, a slave one at least a slave; else the runtime's default."""
    modes = {bind.propagation.removeprefix("r") for bind in binds}
    return next((mode for mode in ("shared", "slave") if mode in modes), "")


def _thermal(host: HostFacts) -> list[str]:
    return [f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(host.cpus)]
