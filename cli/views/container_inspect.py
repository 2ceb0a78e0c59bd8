"""A container as `inspect` prints it: docker's shape and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2 as spec_pb
from cli.format.values import NO_LIST, NO_MAP, OpenMap, Sparse, Struct
from cli.views import container as view
from cli.views import host_config, mounts, ports
from cli.views.values import nanoseconds, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.format.values import Nil

_ACTIONS = {
    spec_pb.HEALTH_ACTION_RESTART: "restart",
    spec_pb.HEALTH_ACTION_KILL: "kill",
    spec_pb.HEALTH_ACTION_STOP: "stop",
}


def inspect(container: pb.Container, *, size: bool) -> Sparse:
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
        "ExecIDs": list(container.exec_ids) or NO_LIST,
        "HostConfig": host_config.build(container),
    }
    shown["GraphDriver"] = Struct(Name="overlay", Data=_layers(container))
    shown["SizeRw"] = container.size_rw_bytes if size else None
    shown["SizeRootFs"] = container.size_root_bytes if size else None
    shown["Mounts"] = [
        mount(point)
        for point in container.mount_points
        if point.type != spec_pb.MOUNT_TYPE_TMPFS  # they have no source; HostConfig.Tmpfs shows them
    ]
    shown["Config"] = _config(container)
    shown["NetworkSettings"] = _network_settings(container)
    return Sparse(shown, optional=() if size else ("SizeRw", "SizeRootFs"))


def _layers(container: pb.Container) -> dict[str, str] | Nil:
    """Show the directories of the root file system, as far as they are known."""
    if not container.HasField("root_layers"):
        return NO_MAP
    layers = container.root_layers
    return {
        "LowerDir": ":".join(layers.lower_dirs),
        "MergedDir": layers.merged_dir,
        "UpperDir": layers.upper_dir,
        "WorkDir": layers.work_dir,
    }


def _state(container: pb.Container) -> Sparse:
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
    shown["Health"] = _health(container) if observed.HasField("health") else None
    return Sparse(shown, optional=("Health",))


def _health(container: pb.Container) -> Struct:
    observed = container.status.health
    return Struct(
        Status=view.health(container) or "none",
        FailingStreak=observed.failing_streak,
        Log=[
            Struct(
                Start=rfc3339(result.started_at),
                End=rfc3339(result.finished_at),
                ExitCode=result.exit_code,
                Output=result.output,
            )
            for result in observed.log
        ],
    )


def mount(point: pb.MountPoint) -> Sparse:
    """Show a mount as a container's list of them has it."""
    volume = point.type == spec_pb.MOUNT_TYPE_VOLUME
    shown = {
        "Type": mounts.kind(point.type),
        "Name": point.name if volume else "",
        "Source": point.source,
        "Destination": point.destination,
        "Driver": point.driver if volume else "",
        "Mode": "ro" if point.read_only else "",
        "RW": not point.read_only,
        "Propagation": point.propagation,
    }
    return Sparse(shown, optional=("Name", "Driver"))


def _config(container: pb.Container) -> Sparse:
    spec = container.spec
    shown: dict[str, Any] = {
        "Hostname": spec.network.hostname or container.id[:12],
        "Domainname": spec.network.domainname,
        "User": spec.user,
        "AttachStdin": spec.stdin_once,
        "AttachStdout": spec.attach_stdout,
        "AttachStderr": spec.attach_stderr,
        "ExposedPorts": {port: Struct() for port in ports.exposed(spec.network)} or NO_MAP,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": list(spec.env) or NO_LIST,
        "Cmd": list(spec.cmd) or NO_LIST,
        "Image": spec.image,
        "Volumes": {
            point.destination: Struct()
            for point in container.mount_points
            if point.type == spec_pb.MOUNT_TYPE_VOLUME and point.anonymous
        }
        or NO_MAP,
        "WorkingDir": spec.working_dir,
        "Entrypoint": list(spec.entrypoint) or NO_LIST,
        "OnBuild": NO_LIST,
        "Labels": OpenMap(sorted(spec.labels.items())),
        "StopSignal": spec.stop_signal,
    }
    timed = spec.HasField("stop_grace_ms")
    shown["StopTimeout"] = round(spec.stop_grace_ms / 1000) if timed else None
    shown["Healthcheck"] = healthcheck(spec.health) if spec.HasField("health") else None
    return Sparse(shown, optional=("ExposedPorts", "Healthcheck", *(() if timed else ("StopTimeout",))))


def healthcheck(check: spec_pb.HealthCheck) -> Sparse:
    """Show a health check; durations are nanoseconds, as docker has them."""
    shown = {
        "Test": list(check.test),
        "Interval": nanoseconds(check.interval_ms),
        "Timeout": nanoseconds(check.timeout_ms),
        "StartPeriod": nanoseconds(check.start_period_ms),
        "StartInterval": nanoseconds(check.start_interval_ms),
        "Retries": check.retries,
        "OnFailure": _ACTIONS.get(check.on_failure, ""),
    }
    return Sparse(shown, optional=shown)


def _network_settings(container: pb.Container) -> dict[str, Any]:
    network = container.status.network
    shown: Mapping[str, Any] = {
        endpoint.network: {
            "IPAMConfig": None,
            "Links": NO_LIST,
            "Aliases": list(endpoint.aliases) or NO_LIST,
            "DriverOpts": NO_MAP,
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
            "DNSNames": list(endpoint.aliases) or NO_LIST,
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
        "SecondaryIPAddresses": NO_LIST,
        "SecondaryIPv6Addresses": NO_LIST,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "EndpointID": first.get("EndpointID", ""),
        "Gateway": first.get("Gateway", ""),
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "MacAddress": first.get("MacAddress", ""),
        "Networks": dict(shown),
    }
