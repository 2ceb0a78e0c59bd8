"""From a task to the container that is asked of containerd. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LABEL_PREFIX = "com.docker.swarm."
TASK_ID_LABEL = LABEL_PREFIX + "task.id"
SECRETS_DIRECTORY = "/run/secrets/"
_FILE_MODE_DEFAULT = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A container to make."""

    spec: spec_pb2.ContainerSpec
    request_id: str


def task_name(task: objects_pb2.Task) -> str:
    """Return service.slot.id, or service.node.id for a task of a global service."""
    place = str(task.slot) if task.slot else task.node_id
    return f"{task.service_annotations.name}.{place}.{task.id}"


def missing_files(
    spec: objects_pb2.TaskSpec, secrets: Mapping[str, bytes], configs: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Return what the task uses and is not here, for people."""
    absent = [f"secret {ref.name or ref.id}" for ref in spec.secrets if ref.id not in secrets]
    return (*absent, *(f"config {ref.name or ref.id}" for ref in spec.configs if ref.id not in configs))


def refusal(task: objects_pb2.Task) -> str:
    """Return why this node cannot run the task at all; empty if it can."""
    if task.spec.networks:
        return "this node cannot join networks of the swarm: the overlay driver is not available"
    return ""


def order(task: objects_pb2.Task, secrets: Mapping[str, bytes], configs: Mapping[str, bytes]) -> Order:
    """Return the container that the task asks for. Its files must all be here (see `missing_files`).

    What the swarm itself decides is taken out of the user's spec: the name, the restart policy, the removal.
    """
    spec = spec_pb2.ContainerSpec()
    spec.CopyFrom(task.spec.container)
    spec.name = task_name(task)
    spec.ClearField("restart")
    spec.auto_remove = False
    for key, value in _labels(task).items():
        spec.labels[key] = value
    spec.network.ports.extend(_port_bindings(task.endpoint.ports))
    spec.files.extend(_files(task.spec.secrets, secrets, SECRETS_DIRECTORY))
    spec.files.extend(_files(task.spec.configs, configs, "/"))
    return Order(spec=spec, request_id=task.id)


def _labels(task: objects_pb2.Task) -> dict[str, str]:
    return {
        LABEL_PREFIX + "node.id": task.node_id,
        LABEL_PREFIX + "service.id": task.service_id,
        LABEL_PREFIX + "service.name": task.service_annotations.name,
        LABEL_PREFIX + "task": "",
        TASK_ID_LABEL: task.id,
        LABEL_PREFIX + "task.name": task_name(task),
    }


def _port_bindings(ports: Iterable[objects_pb2.PublishedPort]) -> list[spec_pb2.PortBinding]:
    """Return the bindings of the node that runs the task. Tasks of a service share an ingress port of their node."""
    return [
        spec_pb2.PortBinding(
            host_port=port.published_port,
            container_port=port.target_port,
            protocol=port.protocol or "tcp",
            shared=port.mode != objects_pb2.PUBLISH_MODE_HOST,
        )
        for port in ports
    ]


def _files(
    references: Iterable[objects_pb2.FileReference], contents: Mapping[str, bytes], directory: str
) -> list[spec_pb2.InlineFile]:
    return [
        spec_pb2.InlineFile(
            path=_absolute(ref.target or ref.name, directory),
            data=contents[ref.id],
            uid=int(ref.uid or 0),
            gid=int(ref.gid or 0),
            mode=ref.mode or _FILE_MODE_DEFAULT,
        )
        for ref in references
    ]


def _absolute(target: str, directory: str) -> str:
    return target if target.startswith("/") else directory + target
