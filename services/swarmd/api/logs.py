"""LogService: what tasks wrote, wherever they run."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.kit.tasks import Supervisor
from services.swarmd.api import lookup
from services.swarmd.api.logfan import LogFan
from services.swarmd.store.changes import Resync
from services.swarmd.store.tables import SERVICES, TASKS, TASKS_BY_SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.kit.rpc.types import Context
    from services.kit.seams import Rng
    from services.swarmd.api.ports import Manager
    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.store.changes import Committed
    from services.swarmd.store.feed import Watch
    from services.swarmd.store.views import Reader

FOLLOWS = ("GetServiceLogs",)
"""The methods whose calls have no end of their own, for `RpcServer.add`."""
LAG_S = 1.0
"""A manager that does not lead may hear of a new service a moment later than whoever made it."""
LAG_CHECK_S = 0.1


class LogServicer(control_pb2_grpc.LogServiceServicer):
    """Streams the logs of tasks."""

    def __init__(self, manager: Manager, dialer: NodeDialer, rng: Rng) -> None:
        self._manager = manager
        self._dialer = dialer
        self._rng = rng

    async def GetServiceLogs(
        self, request: control_pb2.GetServiceLogsRequest, _context: Context
    ) -> AsyncIterator[control_pb2.GetServiceLogsResponse]:
        """Stream the logs of a service, or of a task."""
        watch = self._manager.store.watch()
        target = await self._target(request.target)
        async with Supervisor() as supervisor:
            fan = LogFan(
                request,
                dialer=self._dialer,
                supervisor=supervisor,
                clock=self._manager.clock,
                rng=self._rng,
            )
            supervisor.spawn(
                self._feed(fan, target, watch, follow=request.follow), "log-sources", critical=False
            )
            async with contextlib.aclosing(fan.responses()) as responses:
                async for response in responses:
                    yield response

    async def _target(self, name: str) -> objects_pb2.Service | objects_pb2.Task:
        waited_s = 0.0
        while True:
            try:
                return _find(self._manager.store.view(), name)
            except errors.NotFound:
                if self._manager.leader.leading() or waited_s >= LAG_S:
                    raise
            await self._manager.clock.sleep(LAG_CHECK_S)
            waited_s += LAG_CHECK_S

    async def _feed(
        self, fan: LogFan, target: objects_pb2.Service | objects_pb2.Task, watch: Watch, *, follow: bool
    ) -> None:
        """Give the fan the tasks that belong to the target: those that are there and, to follow, those that come."""
        await fan.read(self._tasks(target))
        while follow and self._may_come(target):
            items = await watch.read()
            if not items:
                break
            if any(_concerns(item, target) for item in items):
                await fan.read(self._tasks(target))
        await fan.finish()

    def _tasks(self, target: objects_pb2.Service | objects_pb2.Task) -> Sequence[objects_pb2.Task]:
        view = self._manager.store.view()
        if isinstance(target, objects_pb2.Service):
            tasks = view.find(TASKS_BY_SERVICE, target.id)
            return sorted(tasks, key=lambda task: (task.slot, task.meta.created_version, task.id))
        task = view.get(TASKS, target.id)
        return [task] if task is not None else []

    def _may_come(self, target: objects_pb2.Service | objects_pb2.Task) -> bool:
        """Say whether there may be a log of the target that is not there yet."""
        view = self._manager.store.view()
        if isinstance(target, objects_pb2.Service):
            return view.get(SERVICES, target.id) is not None
        task = view.get(TASKS, target.id)
        if task is None or task.status.state > objects_pb2.TASK_STATE_RUNNING:
            return False
        return not task.status.container.container_id


def _concerns(item: Committed | Resync, target: objects_pb2.Service | objects_pb2.Task) -> bool:
    return isinstance(item, Resync) or any(
        target.id in {task.service_id, task.id}
        for change in item.of(TASKS)
        if (task := change.new) is not None
    )


def _find(reader: Reader, name: str) -> objects_pb2.Service | objects_pb2.Task:
    """Return the service or the task that a name means: names and ids before prefixes."""
    try:
        return lookup.service(reader, name)
    except errors.NotFound:
        pass
    try:
        return lookup.task(reader, name)
    except errors.NotFound:
        raise errors.NotFound(
            f"no such task or service: {name}", reason="TASK_NOT_FOUND", metadata={"target": name}
        ) from None
