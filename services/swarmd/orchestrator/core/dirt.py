"""Whether a task still is what its service asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import (
    PUBLISH_MODE_HOST,
    TASK_STATE_READY,
    TASK_STATE_RUNNING,
    PublishMode,
    TaskSpec,
)
from services.swarmd.scheduler.core import constraints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1.objects_pb2 import PublishedPort, Service, Task
    from services.swarmd.scheduler.core.nodes import NodeView


def is_dirty(service: Service, task: Task, node: NodeView | None) -> bool:
    """Say whether a task must be replaced by one of the service's current spec.

    Not because of what concerns only tasks to come: another placement, as long as the task's node meets it, and
    credentials or policy for pulling an image that the node has by now. Not because of names, labels or counts.

    Args:
        service: The service.
        task: One of its tasks.
        node: The node of the task, if it has one.
    """
    if task.spec_version == service.spec_version:
        return False
    if _ports(service.endpoint.ports) != _ports(task.endpoint.ports) and task.HasField("endpoint"):
        return True
    wanted = service.spec.task
    if wanted == task.spec:
        return False
    ignore_pull = TASK_STATE_READY <= task.status.state <= TASK_STATE_RUNNING
    ignore_placement = node is not None and constraints.meets(wanted.placement.constraints, node)
    return _relevant(wanted, ignore_pull, ignore_placement) != _relevant(
        task.spec, ignore_pull, ignore_placement
    )


def _relevant(spec: TaskSpec, ignore_pull: bool, ignore_placement: bool) -> TaskSpec:
    """Return a copy of a spec with only what matters to a task that is there."""
    relevant = TaskSpec()
    relevant.CopyFrom(spec)
    if ignore_pull:
        relevant.ClearField("pull_policy")
        relevant.ClearField("registry_auth")
    if ignore_placement:
        relevant.ClearField("placement")
    return relevant


def _ports(ports: Iterable[PublishedPort]) -> set[tuple[str, int, int, PublishMode.ValueType]]:
    """Return what makes a difference to a task: its ports, and where they are published.

    A host port that the node picks is 0 on both sides.
    """
    return {(port.protocol or "tcp", port.target_port, port.published_port, _mode(port)) for port in ports}


def _mode(port: PublishedPort) -> PublishMode.ValueType:
    return port.mode if port.mode == PUBLISH_MODE_HOST else PublishMode.Value("PUBLISH_MODE_INGRESS")
