"""What a service's tasks run, as `service inspect` prints it: docker's TaskTemplate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as objects
from cli.format.values import OpenMap
from cli.views import container_inspect, mounts
from cli.views.values import nanoseconds

if TYPE_CHECKING:
    from beeyard.container.v1 import spec_pb2 as container_pb


def inspect(task: objects.TaskSpec) -> dict[str, Any]:
    """Show what a task runs."""
    container = task.container
    condition = objects.TaskRestartCondition.Name(task.restart.condition).removeprefix(
        "TASK_RESTART_CONDITION_"
    )
    shown: dict[str, Any] = {
        "ContainerSpec": _container(task),
        "Resources": {
            "Limits": {
                "NanoCPUs": container.resources.nano_cpus,
                "MemoryBytes": container.resources.memory_bytes,
                "Pids": container.resources.pids_limit,
            },
            "Reservations": {
                "NanoCPUs": task.reservations.nano_cpus,
                "MemoryBytes": task.reservations.memory_bytes,
                "GenericResources": [
                    {"DiscreteResourceSpec": {"Kind": kind, "Value": value}}
                    for kind, value in sorted(task.reservations.generic.items())
                ],
            },
        },
        "RestartPolicy": {
            "Condition": "any" if condition == "UNSPECIFIED" else condition.lower().replace("_", "-"),
            "Delay": nanoseconds(task.restart.delay_ms if task.restart.HasField("delay_ms") else 5000),
            "MaxAttempts": task.restart.max_attempts,
            "Window": nanoseconds(task.restart.window_ms),
        },
        "Placement": {
            "Constraints": list(task.placement.constraints),
            "Preferences": [{"Spread": {"SpreadDescriptor": key}} for key in task.placement.spread_over],
            "MaxReplicas": task.placement.max_replicas_per_node,
        },
        "Networks": [
            {"Target": network.target, "Aliases": list(network.aliases)} for network in task.networks
        ],
        "ForceUpdate": task.force_update,
    }
    if container.log.driver or container.log.options:
        shown["LogDriver"] = {
            "Name": container.log.driver,
            "Options": dict(sorted(container.log.options.items())),
        }
    return shown


def _container(task: objects.TaskSpec) -> dict[str, Any]:
    container = task.container
    network, security = container.network, container.security
    shown: dict[str, Any] = {
        "Image": container.image,
        "Labels": OpenMap(sorted(container.labels.items())),
        "Command": list(container.entrypoint),
        "Args": list(container.cmd),
        "Hostname": network.hostname,
        "Env": list(container.env),
        "Dir": container.working_dir,
        "User": container.user,
        "Groups": list(container.groups),
        "Init": container.init,
        "TTY": container.tty,
        "ReadOnly": security.read_only_root,
        "StopSignal": container.stop_signal,
        "StopGracePeriod": nanoseconds(
            container.stop_grace_ms if container.HasField("stop_grace_ms") else 10_000
        ),
        "Mounts": [_mount(mount) for mount in container.mounts],
        "Hosts": list(network.extra_hosts),
        "DNSConfig": {
            "Nameservers": list(network.dns),
            "Search": list(network.dns_search),
            "Options": list(network.dns_options),
        },
        "Secrets": [_file(reference, "Secret") for reference in task.secrets],
        "Configs": [_file(reference, "Config") for reference in task.configs],
        "CapabilityAdd": list(security.cap_add),
        "CapabilityDrop": list(security.cap_drop),
        "Sysctls": dict(sorted(security.sysctls.items())),
        "Ulimits": [
            {"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard}
            for limit in container.resources.ulimits
        ],
    }
    if container.HasField("health"):
        shown["Healthcheck"] = container_inspect.healthcheck(container.health)
    return shown


def _mount(mount: container_pb.Mount) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Type": mounts.kind(mount.type),
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    if mount.propagation:
        shown["BindOptions"] = {"Propagation": mount.propagation}
    if mount.tmpfs_size_bytes or mount.tmpfs_mode:
        shown["TmpfsOptions"] = {"SizeBytes": mount.tmpfs_size_bytes, "Mode": mount.tmpfs_mode}
    return shown


def _file(reference: objects.FileReference, kind: str) -> dict[str, Any]:
    return {
        "File": {
            "Name": reference.target,
            "UID": reference.uid,
            "GID": reference.gid,
            "Mode": reference.mode or 0o444,
        },
        f"{kind}ID": reference.id,
        f"{kind}Name": reference.name,
    }
