"""WatchService: changes of the store, from the copy of whatever manager is asked."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.swarmd.api.secrets import without_data
from services.swarmd.members.cluster import without_keys
from services.swarmd.store.changes import Resync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.changes import Change, Committed

LEADERLESS_MAX_S = 10.0
"""A manager that has not known a leader for so long ends its watches: another one may know more."""
LEADER_CHECK_S = 1.0
FOLLOWS = ("Watch",)
"""The methods whose calls have no end of their own, for `RpcServer.add`."""

_KINDS = {
    control_pb2.OBJECT_KIND_CLUSTER: "cluster",
    control_pb2.OBJECT_KIND_NODE: "node",
    control_pb2.OBJECT_KIND_SERVICE: "service",
    control_pb2.OBJECT_KIND_TASK: "task",
    control_pb2.OBJECT_KIND_NETWORK: "network",
    control_pb2.OBJECT_KIND_SECRET: "secret",
    control_pb2.OBJECT_KIND_CONFIG: "config",
}


class WatchServicer(control_pb2_grpc.WatchServiceServicer):
    """Streams changes."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def Watch(
        self, request: control_pb2.WatchRequest, _context: Context
    ) -> AsyncIterator[control_pb2.WatchResponse]:
        """Stream the changes that are asked for."""
        tables = _tables(request.kinds)
        store, clock = self._manager.store, self._manager.clock
        watch = store.watch(request.after_version or None)
        yield control_pb2.WatchResponse(started=control_pb2.WatchStarted(version=store.index))
        leader_seen = clock.monotonic()
        while True:
            items: Sequence[Committed | Resync] | None = None
            try:
                async with asyncio.timeout(LEADER_CHECK_S):
                    items = await watch.read()
            except TimeoutError:
                pass
            if items is not None and not items:
                raise errors.Unavailable("this manager is stopping", reason="SHUTTING_DOWN")
            for response in _responses(items or (), tables, request.service_id):
                yield response
            if self._manager.leader.leader() is not None:
                leader_seen = clock.monotonic()
            elif clock.monotonic() - leader_seen > LEADERLESS_MAX_S:
                raise errors.Unavailable(
                    f"this manager has not known a leader for {LEADERLESS_MAX_S:g} s", reason="NO_LEADER"
                )


def _tables(kinds: Sequence[control_pb2.ObjectKind.ValueType]) -> frozenset[str]:
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise errors.Invalid(f"kind {unknown[0]} is not known", reason="KIND_INVALID")
    return frozenset(_KINDS[kind] for kind in kinds) or frozenset(_KINDS.values())


def _responses(
    items: Sequence[Committed | Resync], tables: frozenset[str], service_id: str
) -> list[control_pb2.WatchResponse]:
    responses: list[control_pb2.WatchResponse] = []
    for item in items:
        if isinstance(item, Resync):
            responses.append(control_pb2.WatchResponse(resync=control_pb2.WatchResync(version=item.index)))
            continue
        changes = [_change(change) for change in item.changes if _is_wanted(change, tables, service_id)]
        if changes:
            responses.append(
                control_pb2.WatchResponse(
                    changes=control_pb2.WatchChanges(version=item.index, changes=changes)
                )
            )
    return responses


def _is_wanted(change: Change[Any], tables: frozenset[str], service_id: str) -> bool:
    if change.table.name not in tables:
        return False
    if not service_id:
        return True
    match change.new or change.old:
        case objects_pb2.Task() as task:
            return task.service_id == service_id
        case objects_pb2.Service() as service:
            return service.id == service_id
        case _:
            return False


def _change(change: Change[Any]) -> control_pb2.ObjectChange:
    if change.old is None:
        action = control_pb2.CHANGE_ACTION_CREATED
    elif change.new is None:
        action = control_pb2.CHANGE_ACTION_REMOVED
    else:
        action = control_pb2.CHANGE_ACTION_UPDATED
    shown = _shown(change.new if change.new is not None else change.old)
    return control_pb2.ObjectChange(action=action, **{change.table.name: shown})


def _shown(obj: Any) -> Any:
    """Return an object without what never leaves the managers."""
    match obj:
        case objects_pb2.Cluster():
            return without_keys(obj)
        case objects_pb2.Secret():
            return without_data(obj)
        case objects_pb2.Config():
            shown = objects_pb2.Config()
            shown.CopyFrom(obj)
            shown.spec.ClearField("data")
            return shown
        case _:
            return obj
