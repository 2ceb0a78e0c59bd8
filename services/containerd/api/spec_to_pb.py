"""A container's specification to the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2
from services.containerd.model import spec as model

if TYPE_CHECKING:
    from collections.abc import Iterable

_RESTART = {
    model.RestartMode.NO: spec_pb2.RESTART_CONDITION_NO,
    model.RestartMode.ON_FAILURE: spec_pb2.RESTART_CONDITION_ON_FAILURE,
    model.RestartMode.ALWAYS: spec_pb2.RESTART_CONDITION_ALWAYS,
    model.RestartMode.UNLESS_STOPPED: spec_pb2.RESTART_CONDITION_UNLESS_STOPPED,
}
_HEALTH_ACTIONS = {
    model.HealthAction.NONE: spec_pb2.HEALTH_ACTION_NONE,
    model.HealthAction.RESTART: spec_pb2.HEALTH_ACTION_RESTART,
    model.HealthAction.KILL: spec_pb2.HEALTH_ACTION_KILL,
    model.HealthAction.STOP: spec_pb2.HEALTH_ACTION_STOP,
}
MOUNT_TYPES = {
    model.MountKind.BIND: spec_pb2.MOUNT_TYPE_BIND,
    model.MountKind.VOLUME: spec_pb2.MOUNT_TYPE_VOLUME,
    model.MountKind.TMPFS: spec_pb2.MOUNT_TYPE_TMPFS,
    model.MountKind.IMAGE: spec_pb2.MOUNT_TYPE_IMAGE,
}


def container(name: str, spec: model.ContainerSpec) -> spec_pb2.ContainerSpec:
    """Return the specification. The content of files stays here: they are secrets."""
    return spec_pb2.ContainerSpec(
        name=name,
        image=spec.image,
        entrypoint=spec.entrypoint or (),
        clear_entrypoint=spec.entrypoint == (),
        cmd=spec.command,
        env=spec.env,
        user=spec.user,
        groups=spec.groups,
        working_dir=spec.workdir,
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        tty=spec.tty,
        open_stdin=spec.stdin_open,
        stdin_once=spec.stdin_once,
        attach_stdout=spec.attach_stdout,
        attach_stderr=spec.attach_stderr,
        auto_remove=spec.auto_remove,
        init=spec.init,
        stop_signal=spec.stop_signal,
        stop_grace_ms=None if spec.stop_grace_s is None else round(spec.stop_grace_s * 1000),
        restart=spec_pb2.RestartPolicy(
            condition=_RESTART[spec.restart.mode], max_retries=spec.restart.retries_max
        ),
        health=_health(spec.health) if spec.health is not None else None,
        resources=resources(spec.resources),
        network=_network(spec.network),
        mounts=[_mount(mount) for mount in spec.mounts],
        volumes_from=spec.volumes_from,
        security=_security(spec.security),
        log=spec_pb2.LogConfig(driver=spec.log.driver, options=dict(spec.log.options)),
        runtime=spec.runtime,
        cgroup_parent=spec.cgroup_parent,
        platform=spec.platform,
        storage_options=dict(spec.storage_options),
        files=[
            spec_pb2.InlineFile(path=file.path, uid=file.uid, gid=file.gid, mode=file.mode)
            for file in spec.files
        ],
    )


def resources(limits: model.Resources) -> spec_pb2.Resources:
    """Return the limits."""
    return spec_pb2.Resources(
        memory_bytes=limits.memory_bytes,
        memory_reservation_bytes=limits.memory_reservation_bytes,
        memory_swap_bytes=limits.memory_swap_bytes,
        memory_swappiness=limits.memory_swappiness,
        oom_kill_disable=limits.oom_kill_disable,
        oom_score_adj=limits.oom_score_adj,
        nano_cpus=limits.nano_cpus,
        cpu_shares=limits.cpu_shares,
        cpu_period_us=limits.cpu_period_us,
        cpu_quota_us=limits.cpu_quota_us,
        cpu_rt_period_us=limits.cpu_rt_period_us,
        cpu_rt_runtime_us=limits.cpu_rt_runtime_us,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        pids_limit=limits.pids_max,
        blkio_weight=limits.blkio_weight,
        blkio_weight_device=_limits(limits.blkio_weight_device),
        device_read_bps=_limits(limits.device_read_bps),
        device_write_bps=_limits(limits.device_write_bps),
        device_read_iops=_limits(limits.device_read_iops),
        device_write_iops=_limits(limits.device_write_iops),
        ulimits=[
            spec_pb2.Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard) for limit in limits.ulimits
        ],
        shm_bytes=limits.shm_bytes,
    )


def port(binding: model.PortBinding) -> spec_pb2.PortBinding:
    """Return one published port."""
    return spec_pb2.PortBinding(
        host_ip=binding.host_ip,
        host_port=binding.host_port,
        host_port_end=binding.host_port_end,
        container_port=binding.container_port,
        container_port_end=binding.container_port_end,
        protocol=binding.protocol,
        shared=binding.shared,
    )


def _limits(limits: Iterable[model.DeviceLimit]) -> list[spec_pb2.DeviceLimit]:
    return [spec_pb2.DeviceLimit(path=limit.path, value=limit.value) for limit in limits]


def _health(health: model.Healthcheck) -> spec_pb2.HealthCheck:
    return spec_pb2.HealthCheck(
        test=health.test,
        interval_ms=round(health.interval_s * 1000),
        timeout_ms=round(health.timeout_s * 1000),
        start_period_ms=round(health.start_period_s * 1000),
        start_interval_ms=round(health.start_interval_s * 1000),
        retries=health.retries,
        on_failure=_HEALTH_ACTIONS[health.on_failure],
    )


def _network(network: model.Network) -> spec_pb2.Network:
    return spec_pb2.Network(
        mode=network.mode,
        endpoints=[
            spec_pb2.Endpoint(
                network=endpoint.network,
                aliases=endpoint.aliases,
                ip=endpoint.ip,
                ip6=endpoint.ip6,
                mac=endpoint.mac,
                options=dict(endpoint.options),
                gateway_priority=endpoint.gateway_priority,
            )
            for endpoint in network.endpoints
        ],
        ports=[port(binding) for binding in network.ports],
        publish_all=network.publish_all,
        expose=network.expose,
        hostname=network.hostname,
        domainname=network.domainname,
        dns=network.dns,
        dns_options=network.dns_options,
        dns_search=network.dns_search,
        extra_hosts=network.extra_hosts,
        mac=network.mac,
        links=network.links,
    )


def _mount(mount: model.Mount) -> spec_pb2.Mount:
    return spec_pb2.Mount(
        type=MOUNT_TYPES[mount.kind],
        source=mount.source,
        target=mount.target,
        read_only=mount.read_only,
        propagation=mount.propagation,
        bind_recursive=mount.bind_recursive,
        bind_create_source=mount.bind_create_source,
        volume_no_copy=mount.volume_no_copy,
        volume_subpath=mount.volume_subpath,
        volume_labels=dict(mount.volume_labels),
        volume_driver=mount.volume_driver,
        volume_options=dict(mount.volume_options),
        image_subpath=mount.image_subpath,
        tmpfs_size_bytes=mount.tmpfs_size_bytes,
        tmpfs_mode=mount.tmpfs_mode,
        tmpfs_options=mount.tmpfs_options,
    )


def _security(security: model.Security) -> spec_pb2.Security:
    return spec_pb2.Security(
        privileged=security.privileged,
        cap_add=security.cap_add,
        cap_drop=security.cap_drop,
        no_new_privileges=security.no_new_privileges,
        read_only_root=security.read_only_root,
        seccomp=security.seccomp,
        apparmor=security.apparmor,
        selinux=security.selinux,
        systempaths_unconfined=security.systempaths_unconfined,
        masked_paths=security.masked_paths,
        readonly_paths=security.read_only_paths,
        ipc=security.ipc,
        pid=security.pid,
        uts=security.uts,
        cgroupns=security.cgroupns,
        userns=security.userns,
        devices=[
            spec_pb2.Device(
                host_path=device.host_path,
                container_path=device.container_path,
                permissions=device.permissions,
            )
            for device in security.devices
        ],
        device_cgroup_rules=security.device_cgroup_rules,
        sysctls=dict(security.sysctls),
        gpus=security.gpus,
    )
