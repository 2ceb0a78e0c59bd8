"""Services of a swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as objects
from cli.format.values import OpenMap
from cli.views import task as task_view
from cli.views.values import nanoseconds, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.swarm.v1 import control_pb2 as pb

DEFAULT = "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}"
HEADERS: Mapping[str, str] = {
    "ID": "ID",
    "Name": "NAME",
    "Mode": "MODE",
    "Replicas": "REPLICAS",
    "Image": "IMAGE",
    "Ports": "PORTS",
}
_MODES = {
    "replicated": "replicated",
    "global": "global",
    "replicated_job": "replicated job",
    "global_job": "global job",
}
_UPDATE_STATES = {
    objects.UPDATE_STATE_UPDATING: "updating",
    objects.UPDATE_STATE_PAUSED: "paused",
    objects.UPDATE_STATE_COMPLETED: "completed",
    objects.UPDATE_STATE_ROLLBACK_STARTED: "rollback_started",
    objects.UPDATE_STATE_ROLLBACK_PAUSED: "rollback_paused",
    objects.UPDATE_STATE_ROLLBACK_COMPLETED: "rollback_completed",
}


def mode(service: objects.Service) -> str:
    """Name the mode."""
    return _MODES.get(service.spec.mode.WhichOneof("mode") or "replicated", "replicated")


def replicas(entry: pb.ServiceWithCounts) -> str:
    """Show how many tasks run of how many: "5/5", "5/5 (max 1 per node)", "1/1 (3/5 completed)"."""
    text = f"{entry.running_tasks}/{entry.desired_tasks}"
    spec = entry.service.spec
    match spec.mode.WhichOneof("mode"):
        case "replicated_job":
            job = spec.mode.replicated_job
            concurrent = min(job.max_concurrent or job.total_completions, job.total_completions)
            return f"{entry.running_tasks}/{concurrent} ({entry.completed_tasks}/{job.total_completions} completed)"
        case "global_job":
            return f"{text} ({entry.completed_tasks}/{entry.desired_tasks} completed)"
        case _ if spec.task.placement.max_replicas_per_node:
            return f"{text} (max {spec.task.placement.max_replicas_per_node} per node)"
        case _:
            return text


def row(entry: pb.ServiceWithCounts) -> dict[str, Any]:
    """Make a row of `service ls`."""
    service = entry.service
    return {
        "ID": service.id[:12],
        "Name": service.spec.annotations.name,
        "Mode": mode(service),
        "Replicas": replicas(entry),
        "Image": service.spec.task.container.image.partition("@")[0],
        "Ports": ", ".join(
            f"*:{port.published_port}->{port.target_port}/{port.protocol or 'tcp'}"
            for port in service.endpoint.ports
            if port.published_port
        ),
    }


def inspect(entry: pb.ServiceWithCounts) -> dict[str, Any]:
    """Show a service as `service inspect` prints it: docker's names where docker has the thing."""
    service = entry.service
    view: dict[str, Any] = {
        "ID": service.id,
        "Version": {"Index": service.meta.version},
        "CreatedAt": rfc3339(service.meta.created_at),
        "UpdatedAt": rfc3339(service.meta.updated_at),
        "Spec": _spec(service.spec),
        "Endpoint": {
            "Spec": _endpoint(service.spec.endpoint),
            "Ports": [task_view.published(port) for port in service.endpoint.ports],
            "VirtualIPs": [
                {"NetworkID": ip.network_id, "Addr": ip.address} for ip in service.endpoint.virtual_ips
            ],
        },
        "ServiceStatus": {
            "RunningTasks": entry.running_tasks,
            "DesiredTasks": entry.desired_tasks,
            "CompletedTasks": entry.completed_tasks,
        },
    }
    if service.HasField("previous_spec"):
        view["PreviousSpec"] = _spec(service.previous_spec)
    if service.update_status.state:
        view["UpdateStatus"] = {
            "State": _UPDATE_STATES[service.update_status.state],
            "StartedAt": rfc3339(service.update_status.started_at),
            "CompletedAt": rfc3339(service.update_status.completed_at),
            "Message": service.update_status.message,
        }
    return view


def _spec(spec: objects.ServiceSpec) -> dict[str, Any]:
    from cli.views import task_spec

    return {
        "Name": spec.annotations.name,
        "Labels": OpenMap(spec.annotations.labels),
        "TaskTemplate": task_spec.inspect(spec.task),
        "Mode": _mode(spec.mode),
        "UpdateConfig": _update(spec.update),
        "RollbackConfig": _update(spec.rollback),
        "EndpointSpec": _endpoint(spec.endpoint),
    }


def _endpoint(endpoint: objects.EndpointSpec) -> dict[str, Any]:
    return {
        "Mode": "dnsrr" if endpoint.mode == objects.ENDPOINT_MODE_DNSRR else "vip",
        "Ports": [task_view.published(port) for port in endpoint.ports],
    }


def _mode(value: objects.ServiceMode) -> dict[str, Any]:
    match value.WhichOneof("mode"):
        case "global":
            return {"Global": {}}
        case "global_job":
            return {"GlobalJob": {}}
        case "replicated_job":
            job = value.replicated_job
            return {
                "ReplicatedJob": {
                    "MaxConcurrent": job.max_concurrent,
                    "TotalCompletions": job.total_completions,
                }
            }
        case _:
            return {"Replicated": {"Replicas": value.replicated.replicas}}


def _update(config: objects.UpdateConfig) -> dict[str, Any]:
    failure = (
        objects.UpdateFailureAction.Name(config.failure_action).removeprefix("UPDATE_FAILURE_ACTION_").lower()
    )
    return {
        "Parallelism": config.parallelism if config.HasField("parallelism") else 1,
        "Delay": nanoseconds(config.delay_ms),
        "FailureAction": "pause" if failure == "unspecified" else failure,
        "Monitor": nanoseconds(config.monitor_ms if config.HasField("monitor_ms") else 5000),
        "MaxFailureRatio": round(config.max_failure_ratio, 6),
        "Order": "start-first" if config.order == objects.UPDATE_ORDER_START_FIRST else "stop-first",
    }


def pretty(entry: pb.ServiceWithCounts) -> str:
    """Show a service for people: `service inspect --pretty`."""
    service = entry.service
    spec = inspect(entry)["Spec"]
    task = spec["TaskTemplate"]
    lines = [("ID", service.id), ("Name", spec["Name"])]
    for key, value in sorted(spec["Labels"].items()):
        lines.append(("Label", f"{key}={value}"))
    lines += [("Service Mode", mode(service).title()), ("Replicas", replicas(entry))]
    if update := inspect(entry).get("UpdateStatus"):
        lines += [("Update State", update["State"]), ("Update Message", update["Message"])]
    lines += [
        ("Placement", ", ".join(task["Placement"]["Constraints"]) or "anywhere"),
        ("Update Parallelism", str(spec["UpdateConfig"]["Parallelism"])),
        ("Update Order", spec["UpdateConfig"]["Order"]),
        ("On Failure", spec["UpdateConfig"]["FailureAction"]),
        ("Image", task["ContainerSpec"]["Image"]),
    ]
    if arguments := task["ContainerSpec"]["Command"] + task["ContainerSpec"]["Args"]:
        lines.append(("Command", " ".join(arguments)))
    lines.append(("Endpoint Mode", spec["EndpointSpec"]["Mode"]))
    for port in service.endpoint.ports:
        shown = task_view.published(port)
        lines.append(
            (
                "Port",
                f"{shown['PublishedPort']} -> {shown['TargetPort']}/{shown['Protocol']} ({shown['PublishMode']})",
            )
        )
    return "\n".join(f"{name + ':':<22}{value}" for name, value in lines if value)
