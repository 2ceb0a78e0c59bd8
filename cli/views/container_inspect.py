"""A container as `inspect` prints it: docker's shape and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2 as spec_pb
from cli.views import container as view
from cli.views import host_config, mounts, ports
from cli.views.values import nanoseconds, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACTIONS = {
    spec_pb.HEALTH_ACTION_RESTART: "restart",
    spec_pb.HEALTH_ACTION_KILL: "kill",
    spec_pb.HEALTH_ACTION_STOP: "stop",
}


def inspect(container: pb.Container, *, size: bool) -> dict[str, Any]:
    """Show a container."""
    shown: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created_at),
        "Path": container.argv[0] if container.argv else "",
        "Args": list(container.argv[1:]),
        "State": _state(container),
        "Image": container.image_id,
        "ResolvConfPath": container.status.network.resolv_conf_path,
        "HostnamePath": container.status.network.hostname_path,
        "HostsPath": container.status.network.hosts_path,
        "LogPath": container.log_path,
        "BundlePath": container.bundle_path,
        "Name": f"/{container.name}",
        "RestartCount": container.status.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": container.apparmor_profile,
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_config.build(container),
    }
    shown["GraphDriver"] = {"Name": "overlay", "Data": None}
    if size:
        shown["SizeRw"] = container.size_rw_bytes
        shown["SizeRootFs"] = container.size_root_bytes
    shown["Mounts"] = [
        mount(point)
        for point in container.mount_points
        if point.type != spec_pb.MOUNT_TYPE_TMPFS  # they have no source; HostConfig.Tmpfs shows them
    ]
    shown["Config"] = _config(container)
    shown["NetworkSettings"] = _network_settings(container)
    return shown


def _state(container: pb.Container) -> dict[str, Any]:
    observed = container.status
    shown: dict[str, Any] = {
        "Status": view.state(container),
        "Running": observed.state in view.LIVE,
        "Paused": observed.state == pb.CONTAINER_STATE_PAUSED,
        "Restarting": observed.state == pb.CONTAINER_STATE_RESTARTING,
        "OOMKilled": observed.oom_killed,
        "Dead": observed.state == pb.CONTAINER_STATE_DEAD,
        "Pid": observed.pid,
        "ExitCode": observed.exit_code,
        "Error": observed.error,
        "StartedAt": rfc3339(observed.started_at),
        "FinishedAt": rfc3339(observed.finished_at),
    }
    if observed.HasField("health"):
        shown["Health"] = {
            "Status": view.health(container) or "none",
            "FailingStreak": observed.health.failing_streak,
            "Log": [
                {
                    "Start": rfc3339(result.started_at),
                    "End": rfc3339(result.finished_at),
                    "ExitCode": result.exit_code,
                    "Output": result.output,
                }
                for result in observed.health.log
            ],
        }
    return shown


def mount(point: pb.MountPoint) -> dict[str, Any]:
    """Show a mount as a container's list of them has it."""
    shown: dict[str, Any] = {"Type": mounts.kind(point.type)}
    if point.type == spec_pb.MOUNT_TYPE_VOLUME:
        shown["Name"] = point.name
    shown["Source"] = point.source
    shown["Destination"] = point.destination
    if point.type == spec_pb.MOUNT_TYPE_VOLUME:
        shown["Driver"] = point.driver
    return {
        **shown,
        "Mode": "ro" if point.read_only else "",
        "RW": not point.read_only,
        "Propagation": point.propagation,
    }


def _config(container: pb.Container) -> dict[str, Any]:
    spec = container.spec
    shown: dict[str, Any] = {
        "Hostname": spec.network.hostname or container.id[:12],
        "Domainname": spec.network.domainname,
        "User": spec.user,
        "AttachStdin": spec.stdin_once,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {port: {} for port in ports.exposed(spec.network)},
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": list(spec.env),
        "Cmd": list(spec.cmd) or None,
        "Image": spec.image,
        "Volumes": {
            point.destination: {}
            for point in container.mount_points
            if point.type == spec_pb.MOUNT_TYPE_VOLUME and point.anonymous
        }
        or None,
        "WorkingDir": spec.working_dir,
        "Entrypoint": list(spec.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(sorted(spec.labels.items())),
        "StopSignal": spec.stop_signal,
    }
    if spec.HasField("stop_grace_ms"):
        shown["StopTimeout"] = round(spec.stop_grace_ms / 1000)
    if spec.HasField("health"):
        shown["Healthcheck"] = healthcheck(spec.health)
    return shown


def healthcheck(check: spec_pb.HealthCheck) -> dict[str, Any]:
    """Show a health check; durations are nanoseconds, as docker has them."""
    return {
        "Test": list(check.test),
        "Interval": nanoseconds(check.interval_ms),
        "Timeout": nanoseconds(check.timeout_ms),
        "StartPeriod": nanoseconds(check.start_period_ms),
        "StartInterval": nanoseconds(check.start_interval_ms),
        "Retries": check.retries,
        "OnFailure": _ACTIONS.get(check.on_failure, "none"),
    }


def _network_settings(container: pb.Container) -> dict[str, Any]:
    network = container.status.network
    shown: Mapping[str, Any] = {
        endpoint.network: {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": list(endpoint.aliases) or None,
            "DriverOpts": None,
            "GwPriority": 0,
            "MacAddress": endpoint.mac,
            "NetworkID": endpoint.network_id,
            "EndpointID": endpoint.id,
            "Gateway": endpoint.gateway,
            "IPAddress": endpoint.ip,
            "IPPrefixLen": endpoint.prefix_length,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": list(endpoint.aliases) or None,
        }
        for endpoint in network.endpoints
    }
    first: Mapping[str, Any] = next(iter(shown.values()), {})
    return {
        "Bridge": "",
        "SandboxID": container.id if network.netns_path else "",
        "SandboxKey": network.netns_path,
        "Ports": ports.port_map(network.ports, container.spec.network.expose),
        "HairpinMode": False,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "Gateway": first.get("Gateway", ""),
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "MacAddress": first.get("MacAddress", ""),
        "Networks": dict(shown),
    }
