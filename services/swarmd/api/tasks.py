"""TaskService."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.swarmd.agent.core.order import task_name
from services.swarmd.api import filters, lookup, paging
from services.swarmd.gateway.lookup import node_named
from services.swarmd.store.tables import TASKS, TASKS_BY_NODE, TASKS_BY_SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.transaction import Tx
    from services.swarmd.store.views import Reader

_STATE_PREFIX = "TASK_STATE_"
_FILTER: filters.Filter[objects_pb2.Task] = filters.Filter(
    {
        "id": lambda task, value: task.id.startswith(value),
        "name": lambda task, value: task_name(task).startswith(value),
        "service": lambda task, value: task.service_id == value,
        "node": lambda task, value: task.node_id == value,
        "desired-state": lambda task, value: _state_name(task.desired_state) == value.lower(),
    },
    {"label": lambda task, value: filters.has_label(task.service_annotations.labels, value)},
)


class TaskServicer(control_pb2_grpc.TaskServiceServicer):
    """Shows tasks, and removes those that have ended."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def ListTasks(
        self, request: control_pb2.ListTasksRequest, context: Context
    ) -> control_pb2.ListTasksResponse:
        """Page through the tasks."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        asked_node_id = self._manager.callers.caller(context).asked_node_id
        view = self._manager.store.view()
        wanted = _with_ids(view, request.filters, asked_node_id)
        found = _FILTER.apply(_candidates(view, wanted), wanted)
        page = paging.page(found, _order, size=request.page_size, token=request.page_token)
        return control_pb2.ListTasksResponse(tasks=page.items, next_page_token=page.next_token, stale=stale)

    async def GetTask(
        self, request: control_pb2.GetTaskRequest, _context: Context
    ) -> control_pb2.GetTaskResponse:
        """Return one task."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        return control_pb2.GetTaskResponse(
            task=lookup.task(self._manager.store.view(), request.task), stale=stale
        )

    async def RemoveTask(
        self, request: control_pb2.RemoveTaskRequest, _context: Context
    ) -> control_pb2.RemoveTaskResponse:
        """Remove a task that has ended; its node removes the container."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> None:
            task = lookup.task(tx, request.task)
            if task.status.state <= objects_pb2.TASK_STATE_RUNNING:
                raise errors.FailedPrecondition(
                    f"task {task_name(task)} has not ended: scale or remove its service",
                    reason="TASK_NOT_ENDED",
                )
            tx.remove(TASKS, task.id)

        await self._manager.store.update(remove)
        return control_pb2.RemoveTaskResponse()


def _with_ids(reader: Reader, wanted: control_pb2.Filters, asked_node_id: str) -> control_pb2.Filters:
    """Return the filters with services and nodes by id; a name that nothing has selects nothing."""
    resolved = control_pb2.Filters()
    resolved.CopyFrom(wanted)
    for key in ("service", "node"):
        if key not in wanted.by_key:
            continue
        ids = [
            _id_of(reader, key, value, asked_node_id)
            for value in wanted.by_key[key].values[: filters.VALUES_MAX]
        ]
        del resolved.by_key[key].values[:]
        resolved.by_key[key].values.extend(ids)
    return resolved


def _id_of(reader: Reader, kind: str, name: str, asked_node_id: str) -> str:
    try:
        if kind == "service":
            return lookup.service(reader, name).id
        return node_named(reader, asked_node_id if name == "self" else name).id
    except (errors.NotFound, errors.Invalid):
        return name


def _candidates(
    reader: Reader, wanted: control_pb2.Filters
) -> Sequence[objects_pb2.Task] | list[objects_pb2.Task]:
    """Return the tasks to look at: by an index, where a filter allows it."""
    for key, index in (("service", TASKS_BY_SERVICE), ("node", TASKS_BY_NODE)):
        if key in wanted.by_key:
            ids: Iterable[str] = dict.fromkeys(wanted.by_key[key].values)
            return [task for object_id in ids for task in reader.find(index, object_id)]
    return reader.list(TASKS)


def _order(task: objects_pb2.Task) -> paging.Key:
    """By service, then slot or node, the newest of a slot first."""
    return (
        task.service_annotations.name,
        task.slot,
        task.node_id if not task.slot else "",
        -task.meta.created_version,
        task.id,
    )


def _state_name(state: objects_pb2.TaskState.ValueType) -> str:
    return objects_pb2.TaskState.Name(state).removeprefix(_STATE_PREFIX).lower()
