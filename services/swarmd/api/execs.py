"""ExecService: where to find the container of a task. The streams themselves go through the node gateway."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.swarmd.agent.core.order import task_name
from services.swarmd.api import lookup
from services.swarmd.store.tables import SERVICES_BY_NAME, TASKS_BY_SERVICE

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.views import Reader


class ExecServicer(control_pb2_grpc.ExecServiceServicer):
    """Finds the containers of tasks."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def LocateTask(
        self, request: control_pb2.LocateTaskRequest, _context: Context
    ) -> control_pb2.LocateTaskResponse:
        """Find the container of a running task."""
        await self._manager.leader.read_barrier(control_pb2.CONSISTENCY_UNSPECIFIED)
        task = _running(self._manager.store.view(), request.task)
        return control_pb2.LocateTaskResponse(
            task_id=task.id, node_id=task.node_id, container_id=task.status.container.container_id
        )


def _running(reader: Reader, name: str) -> objects_pb2.Task:
    """Return the task that a name means, or any running one of the service that it means."""
    for service in reader.find(SERVICES_BY_NAME, name.casefold()):
        running = [task for task in reader.find(TASKS_BY_SERVICE, service.id) if _has_process(task)]
        if not running:
            raise errors.FailedPrecondition(
                f"service {service.spec.annotations.name} has no running task", reason="TASK_NOT_RUNNING"
            )
        return min(running, key=lambda task: (task.slot, task.id))
    task = lookup.task(reader, name)
    if not _has_process(task):
        state = objects_pb2.TaskState.Name(task.status.state).removeprefix("TASK_STATE_").lower()
        raise errors.FailedPrecondition(
            f"task {task_name(task)} is not running, it is {state}", reason="TASK_NOT_RUNNING"
        )
    return task


def _has_process(task: objects_pb2.Task) -> bool:
    """Say whether there is a process to join: also that of a task which waits to be healthy."""
    started = objects_pb2.TASK_STATE_STARTING <= task.status.state <= objects_pb2.TASK_STATE_RUNNING
    return started and bool(task.status.container.container_id)
