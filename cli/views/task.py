"""Tasks of a swarm, as `service ps` and `node ps` list them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as objects
from cli.format.values import OpenMap
from cli.views import node as node_view
from cli.views.values import ago, rfc3339, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

DEFAULT = (
    "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}"
)
HEADERS: Mapping[str, str] = {
    "ID": "ID",
    "Name": "NAME",
    "Image": "IMAGE",
    "Node": "NODE",
    "DesiredState": "DESIRED STATE",
    "CurrentState": "CURRENT STATE",
    "Error": "ERROR",
    "Ports": "PORTS",
}
ERROR_WIDTH = 34
ID_WIDTH = 12


def state(value: objects.TaskState.ValueType) -> str:
    """Name a state: running, failed, …"""
    return objects.TaskState.Name(value).removeprefix("TASK_STATE_").lower()


def slot_name(task: objects.Task) -> str:
    """`web.1`, or `web.<node>` for a global service."""
    return f"{task.service_annotations.name}.{task.slot or task.node_id}"


def order(tasks: Sequence[objects.Task]) -> list[objects.Task]:
    """By service, then slot, and newest first in a slot: docker's order."""
    return sorted(
        tasks,
        key=lambda task: (
            task.service_annotations.name,
            task.slot,
            "" if task.slot else task.node_id,
            -task.meta.created_at.seconds,
            -task.meta.created_at.nanos,
        ),
    )


def rows(
    tasks: Sequence[objects.Task],
    nodes: Mapping[str, objects.Node],
    *,
    now: datetime,
    full: bool,
    resolve: bool,
    indent: bool,
) -> list[dict[str, Any]]:
    """Rows of a task list.

    Args:
        tasks: In any order.
        nodes: For their names.
        now: For "5 seconds ago".
        full: Do not truncate.
        resolve: Names instead of ids.
        indent: Mark older tasks of a slot, as the default table does.
    """
    result = []
    previous = ""
    for task in order(tasks):
        slot = slot_name(task) if resolve else f"{task.service_id}.{task.slot or task.node_id}"
        shown = f" \\_ {slot}" if indent and slot == previous else slot
        if full and resolve:
            shown = f"{shown}.{task.id}"
        previous = slot
        node = nodes.get(task.node_id)
        error = task.status.error
        image = task.spec.container.image
        result.append(
            {
                "ID": task.id if full else task.id[:ID_WIDTH],
                "Name": shown,
                "Image": image if full else image.partition("@")[0],
                "Node": (node_view.name(node) if node is not None and resolve else task.node_id),
                "DesiredState": state(task.desired_state).capitalize(),
                "CurrentState": f"{state(task.status.state).capitalize()} {ago(task.status.since, now)}",
                "Error": (f'"{error}"' if full else f'"{shorten(error, ERROR_WIDTH)}"') if error else "",
                "Ports": ",".join(
                    f"*:{port.published_port}->{port.target_port}/{port.protocol or 'tcp'}"
                    for port in task.status.ports
                    if port.mode == objects.PUBLISH_MODE_HOST  # those of the mesh belong to the service
                ),
            }
        )
    return result


def inspect(task: objects.Task) -> dict[str, Any]:
    """A task as `inspect` prints it."""
    container = task.status.container
    return {
        "ID": task.id,
        "Version": {"Index": task.meta.version},
        "CreatedAt": rfc3339(task.meta.created_at),
        "UpdatedAt": rfc3339(task.meta.updated_at),
        "Name": f"{slot_name(task)}.{task.id}",
        "Labels": OpenMap(task.service_annotations.labels),
        "Spec": {
            "ContainerSpec": {"Image": task.spec.container.image, "Labels": dict(task.spec.container.labels)}
        },
        "ServiceID": task.service_id,
        "Slot": task.slot,
        "NodeID": task.node_id,
        "Status": {
            "Timestamp": rfc3339(task.status.since),
            "State": state(task.status.state),
            "Message": task.status.message,
            "Err": task.status.error,
            "ContainerStatus": {
                "ContainerID": container.container_id,
                "PID": container.pid,
                "ExitCode": container.exit_code,
                "OOMKilled": container.oom_killed,
                "Addresses": list(container.addresses),
            },
            "PortStatus": {"Ports": [published(port) for port in task.status.ports]},
        },
        "DesiredState": state(task.desired_state),
    }


def published(port: objects.PublishedPort) -> dict[str, Any]:
    """A published port as `inspect` prints it."""
    return {
        "Protocol": port.protocol or "tcp",
        "TargetPort": port.target_port,
        "PublishedPort": port.published_port,
        "PublishMode": "host" if port.mode == objects.PUBLISH_MODE_HOST else "ingress",
    }
