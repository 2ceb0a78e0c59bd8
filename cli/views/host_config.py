"""The HostConfig part of `inspect`: what a container may use, and how it is shut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.format.values import NO_LIST, NO_MAP, Sparse, Struct
from cli.views import mounts, ports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.container.v1 import container_pb2

_RESTARTS = {
    pb.RESTART_CONDITION_UNSPECIFIED: "no",
    pb.RESTART_CONDITION_NO: "no",
    pb.RESTART_CONDITION_ON_FAILURE: "on-failure",
    pb.RESTART_CONDITION_ALWAYS: "always",
    pb.RESTART_CONDITION_UNLESS_STOPPED: "unless-stopped",
}
DEFAULT_SHM_BYTES = 64 << 20
OPTIONAL = frozenset({"Annotations", "StorageOpt", "Sysctls", "Tmpfs", "Mounts", "Init"})
"""What docker's JSON leaves out when it is empty."""


def build(container: container_pb2.Container) -> Sparse:
    """Show what was asked of the host."""
    spec = container.spec
    shown = {
        "Binds": mounts.binds(spec.mounts),
        "Mounts": mounts.others(spec.mounts),
        "LogConfig": Struct(
            Type=spec.log.driver or "k8s-file", Config=dict(sorted(spec.log.options.items()))
        ),
        "NetworkMode": spec.network.mode or "bridge",
        "PortBindings": ports.port_map(spec.network.ports, anywhere=""),
        "RestartPolicy": Struct(
            Name=_RESTARTS.get(spec.restart.condition, "no"), MaximumRetryCount=spec.restart.max_retries
        ),
        "AutoRemove": spec.auto_remove,
        "VolumesFrom": list(spec.volumes_from) or NO_LIST,
        "Annotations": dict(sorted(spec.annotations.items())) or NO_MAP,
        "Dns": list(spec.network.dns),
        "DnsOptions": list(spec.network.dns_options),
        "DnsSearch": list(spec.network.dns_search),
        "ExtraHosts": list(spec.network.extra_hosts) or NO_LIST,
        "GroupAdd": list(spec.groups) or NO_LIST,
        "Links": list(spec.network.links) or NO_LIST,
        "PublishAllPorts": spec.network.publish_all,
        "StorageOpt": dict(sorted(spec.storage_options.items())) or NO_MAP,
        "Tmpfs": {
            mount.target: tmpfs_options(mount) for mount in spec.mounts if mount.type == pb.MOUNT_TYPE_TMPFS
        }
        or NO_MAP,
        "ShmSize": spec.resources.shm_bytes or DEFAULT_SHM_BYTES,
        "Runtime": container.runtime or spec.runtime,
        "CgroupParent": spec.cgroup_parent,
        "Cgroup": "",
        "ContainerIDFile": "",
        "VolumeDriver": "",
        "ConsoleSize": [0, 0],
        "Isolation": "",
        "DeviceRequests": NO_LIST,
        "Init": spec.init or None,
        **_isolation(spec.security),
        "MaskedPaths": list(container.masked_paths) or NO_LIST,
        "ReadonlyPaths": list(container.readonly_paths) or NO_LIST,
        **_limits(spec.resources),
    }
    return Sparse(shown, optional=OPTIONAL)


def tmpfs_options(mount: pb.Mount) -> str:
    """Write the options of a tmpfs as --tmpfs takes them."""
    options = list(mount.tmpfs_options)
    if mount.read_only:
        options.append("ro")
    if mount.tmpfs_size_bytes:
        options.append(f"size={mount.tmpfs_size_bytes}")
    if mount.tmpfs_mode:
        options.append(f"mode={mount.tmpfs_mode:o}")
    return ",".join(options)


def _isolation(security: pb.Security) -> dict[str, Any]:
    options = [
        *(["no-new-privileges"] if security.no_new_privileges else []),
        *([f"seccomp={security.seccomp}"] if security.seccomp else []),
        *([f"apparmor={security.apparmor}"] if security.apparmor else []),
        *(f"label={label}" for label in security.selinux),
    ]
    return {
        "Privileged": security.privileged,
        "CapAdd": [_capability(name) for name in security.cap_add] or NO_LIST,
        "CapDrop": [_capability(name) for name in security.cap_drop] or NO_LIST,
        "CgroupnsMode": security.cgroupns,  # empty is the node's: private with control groups v2, else the host's
        "IpcMode": security.ipc or "private",
        "PidMode": security.pid,
        "UTSMode": security.uts,
        "UsernsMode": security.userns,
        "ReadonlyRootfs": security.read_only_root,
        "SecurityOpt": options or NO_LIST,
        "Sysctls": dict(sorted(security.sysctls.items())) or NO_MAP,
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path or device.host_path,
                "CgroupPermissions": device.permissions or "rwm",
            }
            for device in security.devices
        ],
        "DeviceCgroupRules": list(security.device_cgroup_rules) or NO_LIST,
    }


def _capability(name: str) -> str:
    """Write a capability as the kernel does."""
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _limits(resources: pb.Resources) -> dict[str, Any]:
    swappiness = resources.memory_swappiness if resources.HasField("memory_swappiness") else None
    return {
        "Memory": resources.memory_bytes,
        "MemoryReservation": resources.memory_reservation_bytes,
        "MemorySwap": resources.memory_swap_bytes or 2 * resources.memory_bytes,
        "MemorySwappiness": swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "OomScoreAdj": resources.oom_score_adj,
        "NanoCpus": resources.nano_cpus,
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpuRealtimePeriod": resources.cpu_rt_period_us,
        "CpuRealtimeRuntime": resources.cpu_rt_runtime_us,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "PidsLimit": resources.pids_limit or None,
        "BlkioWeight": resources.blkio_weight,
        "BlkioWeightDevice": _rates(resources.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": _rates(resources.device_read_bps, "Rate"),
        "BlkioDeviceWriteBps": _rates(resources.device_write_bps, "Rate"),
        "BlkioDeviceReadIOps": _rates(resources.device_read_iops, "Rate"),
        "BlkioDeviceWriteIOps": _rates(resources.device_write_iops, "Rate"),
        "Ulimits": [
            {"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in resources.ulimits
        ],
    }


def _rates(limits: Iterable[pb.DeviceLimit], name: str) -> list[dict[str, Any]]:
    return [{"Path": limit.path, name: limit.value} for limit in limits]
