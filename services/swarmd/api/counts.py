"""How many tasks of a service are where they should be. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.swarmd.store.tables import NODES, TASKS_BY_SERVICE

if TYPE_CHECKING:
    from services.swarmd.store.views import Reader

_RUNNING = objects_pb2.TASK_STATE_RUNNING
_COMPLETE = objects_pb2.TASK_STATE_COMPLETE
_AWAY = frozenset({objects_pb2.NODE_STATE_DOWN, objects_pb2.NODE_STATE_DISCONNECTED})


def with_counts(reader: Reader, service: objects_pb2.Service) -> control_pb2.ServiceWithCounts:
    """Return the service with its counts. What runs on a node that is away does not count as running."""
    tasks = reader.find(TASKS_BY_SERVICE, service.id)
    if service.spec.mode.WhichOneof("mode") in {"replicated_job", "global_job"}:
        tasks = [task for task in tasks if task.job_iteration == service.job.iteration]
    running = sum(
        task.status.state == _RUNNING
        and task.desired_state <= _COMPLETE
        and not _is_away(reader, task.node_id)
        for task in tasks
    )
    completed = sum(task.status.state == _COMPLETE for task in tasks)
    active = sum(task.desired_state <= _COMPLETE for task in tasks)
    return control_pb2.ServiceWithCounts(
        service=service,
        running_tasks=running,
        desired_tasks=_desired(service, active),
        completed_tasks=completed if service.HasField("job") else 0,
    )


def _desired(service: objects_pb2.Service, active: int) -> int:
    mode = service.spec.mode
    match mode.WhichOneof("mode"):
        case "replicated":
            return mode.replicated.replicas
        case "replicated_job":
            return mode.replicated_job.max_concurrent or mode.replicated_job.total_completions
        case _:
            return active


def _is_away(reader: Reader, node_id: str) -> bool:
    node = reader.get(NODES, node_id)
    return node is None or node.status.state in _AWAY
