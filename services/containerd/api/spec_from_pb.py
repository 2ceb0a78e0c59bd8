"""A container's specification from the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from beeyard.container.v1 import spec_pb2
from services.containerd.api import texts
from services.containerd.model import spec as model
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

E = TypeVar("E")
T = TypeVar("T")

_RESTART = {
    spec_pb2.RESTART_CONDITION_UNSPECIFIED: model.RestartMode.NO,
    spec_pb2.RESTART_CONDITION_NO: model.RestartMode.NO,
    spec_pb2.RESTART_CONDITION_ON_FAILURE: model.RestartMode.ON_FAILURE,
    spec_pb2.RESTART_CONDITION_ALWAYS: model.RestartMode.ALWAYS,
    spec_pb2.RESTART_CONDITION_UNLESS_STOPPED: model.RestartMode.UNLESS_STOPPED,
}
_HEALTH_ACTIONS = {
    spec_pb2.HEALTH_ACTION_UNSPECIFIED: model.HealthAction.NONE,
    spec_pb2.HEALTH_ACTION_NONE: model.HealthAction.NONE,
    spec_pb2.HEALTH_ACTION_RESTART: model.HealthAction.RESTART,
    spec_pb2.HEALTH_ACTION_KILL: model.HealthAction.KILL,
    spec_pb2.HEALTH_ACTION_STOP: model.HealthAction.STOP,
}
_MOUNT_KINDS = {
    spec_pb2.MOUNT_TYPE_BIND: model.MountKind.BIND,
    spec_pb2.MOUNT_TYPE_VOLUME: model.MountKind.VOLUME,
    spec_pb2.MOUNT_TYPE_TMPFS: model.MountKind.TMPFS,
    spec_pb2.MOUNT_TYPE_IMAGE: model.MountKind.IMAGE,
}


def container(pb: spec_pb2.ContainerSpec) -> model.ContainerSpec:
    """Return the specification; its name goes its own way.

    Raises:
        errors.Invalid: An enum value that this version does not know; too much, or a NUL byte.
    """
    texts.check_spec(pb)
    entrypoint: tuple[str, ...] | None = tuple(pb.entrypoint) or None
    return model.ContainerSpec(
        image=pb.image,
        entrypoint=() if pb.clear_entrypoint else entrypoint,
        command=tuple(pb.cmd),
        env=tuple(pb.env),
        user=pb.user,
        groups=tuple(pb.groups),
        workdir=pb.working_dir,
        labels=dict(pb.labels),
        annotations=dict(pb.annotations),
        tty=pb.tty,
        stdin_open=pb.open_stdin,
        stdin_once=pb.stdin_once,
        attach_stdout=pb.attach_stdout,
        attach_stderr=pb.attach_stderr,
        auto_remove=pb.auto_remove,
        init=pb.init,
        stop_signal=pb.stop_signal,
        stop_grace_s=pb.stop_grace_ms / 1000 if pb.HasField("stop_grace_ms") else None,
        restart=restart(pb.restart),
        health=_health(pb.health) if pb.HasField("health") else None,
        resources=resources(pb.resources),
        network=_network(pb.network),
        mounts=tuple(_mount(mount) for mount in pb.mounts),
        volumes_from=tuple(pb.volumes_from),
        security=_security(pb.security),
        log=model.LogConfig(driver=pb.log.driver, options=dict(pb.log.options)),
        runtime=pb.runtime,
        cgroup_parent=pb.cgroup_parent,
        platform=pb.platform,
        storage_options=dict(pb.storage_options),
        files=tuple(
            model.InlineFile(
                path=file.path, data=file.data, uid=file.uid, gid=file.gid, mode=file.mode or 0o444
            )
            for file in pb.files
        ),
    )


def restart(pb: spec_pb2.RestartPolicy) -> model.RestartPolicy:
    """Return the restart policy."""
    return model.RestartPolicy(
        mode=_known(_RESTART, pb.condition, "restart condition"), retries_max=pb.max_retries
    )


def resources(pb: spec_pb2.Resources) -> model.Resources:
    """Return the limits."""
    return model.Resources(
        memory_bytes=pb.memory_bytes,
        memory_reservation_bytes=pb.memory_reservation_bytes,
        memory_swap_bytes=pb.memory_swap_bytes,
        memory_swappiness=pb.memory_swappiness if pb.HasField("memory_swappiness") else None,
        oom_kill_disable=pb.oom_kill_disable,
        oom_score_adj=pb.oom_score_adj,
        nano_cpus=pb.nano_cpus,
        cpu_shares=pb.cpu_shares,
        cpu_period_us=pb.cpu_period_us,
        cpu_quota_us=pb.cpu_quota_us,
        cpu_rt_period_us=pb.cpu_rt_period_us,
        cpu_rt_runtime_us=pb.cpu_rt_runtime_us,
        cpuset_cpus=pb.cpuset_cpus,
        cpuset_mems=pb.cpuset_mems,
        pids_max=pb.pids_limit,
        blkio_weight=pb.blkio_weight,
        blkio_weight_device=_limits(pb.blkio_weight_device),
        device_read_bps=_limits(pb.device_read_bps),
        device_write_bps=_limits(pb.device_write_bps),
        device_read_iops=_limits(pb.device_read_iops),
        device_write_iops=_limits(pb.device_write_iops),
        ulimits=tuple(
            model.Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard) for limit in pb.ulimits
        ),
        shm_bytes=pb.shm_bytes,
    )


def _limits(limits: Iterable[spec_pb2.DeviceLimit]) -> tuple[model.DeviceLimit, ...]:
    return tuple(model.DeviceLimit(path=limit.path, value=limit.value) for limit in limits)


def _health(pb: spec_pb2.HealthCheck) -> model.Healthcheck:
    return model.Healthcheck(
        test=tuple(pb.test),
        interval_s=pb.interval_ms / 1000,
        timeout_s=pb.timeout_ms / 1000,
        start_period_s=pb.start_period_ms / 1000,
        start_interval_s=pb.start_interval_ms / 1000,
        retries=pb.retries,
        on_failure=_known(_HEALTH_ACTIONS, pb.on_failure, "health action"),
    )


def _network(pb: spec_pb2.Network) -> model.Network:
    return model.Network(
        mode=pb.mode,
        endpoints=tuple(
            model.Endpoint(
                network=endpoint.network,
                aliases=tuple(endpoint.aliases),
                ip=endpoint.ip,
                ip6=endpoint.ip6,
                mac=endpoint.mac,
                options=dict(endpoint.options),
                gateway_priority=endpoint.gateway_priority,
            )
            for endpoint in pb.endpoints
        ),
        ports=tuple(port(binding) for binding in pb.ports),
        publish_all=pb.publish_all,
        expose=tuple(pb.expose),
        hostname=pb.hostname,
        domainname=pb.domainname,
        dns=tuple(pb.dns),
        dns_options=tuple(pb.dns_options),
        dns_search=tuple(pb.dns_search),
        extra_hosts=tuple(pb.extra_hosts),
        mac=pb.mac,
        links=tuple(pb.links),
    )


def port(pb: spec_pb2.PortBinding) -> model.PortBinding:
    """Return one published port."""
    return model.PortBinding(
        host_ip=pb.host_ip,
        host_port=pb.host_port,
        host_port_end=pb.host_port_end,
        container_port=pb.container_port,
        container_port_end=pb.container_port_end,
        protocol=pb.protocol,
        shared=pb.shared,
    )


def _mount(pb: spec_pb2.Mount) -> model.Mount:
    return model.Mount(
        kind=_known(_MOUNT_KINDS, pb.type, "mount type"),
        source=pb.source,
        target=pb.target,
        read_only=pb.read_only,
        propagation=pb.propagation,
        bind_recursive=pb.bind_recursive,
        bind_create_source=pb.bind_create_source,
        volume_no_copy=pb.volume_no_copy,
        volume_subpath=pb.volume_subpath,
        volume_labels=dict(pb.volume_labels),
        volume_driver=pb.volume_driver,
        volume_options=dict(pb.volume_options),
        image_subpath=pb.image_subpath,
        tmpfs_size_bytes=pb.tmpfs_size_bytes,
        tmpfs_mode=pb.tmpfs_mode,
        tmpfs_options=tuple(pb.tmpfs_options),
    )


def _security(pb: spec_pb2.Security) -> model.Security:
    return model.Security(
        privileged=pb.privileged,
        cap_add=tuple(pb.cap_add),
        cap_drop=tuple(pb.cap_drop),
        no_new_privileges=pb.no_new_privileges,
        read_only_root=pb.read_only_root,
        seccomp=pb.seccomp,
        apparmor=pb.apparmor,
        selinux=tuple(pb.selinux),
        systempaths_unconfined=pb.systempaths_unconfined,
        masked_paths=tuple(pb.masked_paths),
        read_only_paths=tuple(pb.readonly_paths),
        ipc=pb.ipc,
        pid=pb.pid,
        uts=pb.uts,
        cgroupns=pb.cgroupns,
        userns=pb.userns,
        devices=tuple(
            model.Device(
                host_path=device.host_path,
                container_path=device.container_path,
                permissions=device.permissions or "rwm",
            )
            for device in pb.devices
        ),
        device_cgroup_rules=tuple(pb.device_cgroup_rules),
        sysctls=dict(pb.sysctls),
        gpus=tuple(pb.gpus),
    )


def _known(table: Mapping[E, T], value: E, what: str) -> T:
    if value not in table:
        raise errors.Invalid(f"unknown {what} {value}", reason="SPEC_INVALID")
    return table[value]
