"""Finding objects by what people call them: id, name, or unique prefix of an id. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors
from services.swarmd.store.tables import (
    CONFIGS,
    CONFIGS_BY_NAME,
    NETWORKS,
    NETWORKS_BY_NAME,
    SECRETS,
    SECRETS_BY_NAME,
    SERVICES,
    SERVICES_BY_NAME,
    TASKS,
    TASKS_BY_SERVICE,
    M,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beeyard.swarm.v1 import objects_pb2
    from services.swarmd.store.tables import Index, Table
    from services.swarmd.store.views import Reader

_SHOWN_MAX = 5
_QUERY_CHARS_MAX = 256


def service(reader: Reader, query: str) -> objects_pb2.Service:
    """Return a service. Raises NotFound SERVICE_NOT_FOUND, FailedPrecondition SERVICE_AMBIGUOUS."""
    return _one(reader, SERVICES, SERVICES_BY_NAME, query)


def secret(reader: Reader, query: str) -> objects_pb2.Secret:
    """Return a secret. Raises NotFound SECRET_NOT_FOUND, FailedPrecondition SECRET_AMBIGUOUS."""
    return _one(reader, SECRETS, SECRETS_BY_NAME, query)


def config(reader: Reader, query: str) -> objects_pb2.Config:
    """Return a config. Raises NotFound CONFIG_NOT_FOUND, FailedPrecondition CONFIG_AMBIGUOUS."""
    return _one(reader, CONFIGS, CONFIGS_BY_NAME, query)


def network(reader: Reader, query: str) -> objects_pb2.SwarmNetwork:
    """Return a network. Raises NotFound NETWORK_NOT_FOUND, FailedPrecondition NETWORK_AMBIGUOUS."""
    return _one(reader, NETWORKS, NETWORKS_BY_NAME, query)


def task(reader: Reader, query: str) -> objects_pb2.Task:
    """Return a task by id, by service.slot.id, by service.slot (its newest task), or by a prefix of its id.

    Raises NotFound TASK_NOT_FOUND, FailedPrecondition TASK_AMBIGUOUS.
    """
    _check_query("task", query)
    exact = reader.get(TASKS, query)
    if exact is not None:
        return exact
    named = _tasks_named(reader, query)
    if named:
        return max(named, key=lambda found: (found.meta.created_version, found.id))
    return _only("task", query, [found for found in reader.list(TASKS) if found.id.startswith(query)])


def _tasks_named(reader: Reader, query: str) -> list[objects_pb2.Task]:
    name, dot, place = query.partition(".")
    slot, _, task_id = place.partition(".")
    if not dot or not slot:
        return []
    return [
        found
        for owner in reader.find(SERVICES_BY_NAME, name.casefold())
        for found in reader.find(TASKS_BY_SERVICE, owner.id)
        if (str(found.slot) if found.slot else found.node_id) == slot and found.id.startswith(task_id)
    ]


def _one(reader: Reader, table: Table[M], by_name: Index[M], query: str) -> M:
    _check_query(table.name, query)
    exact = reader.get(table, query)
    if exact is not None:
        return exact
    named = reader.find(by_name, query.casefold())
    if named:
        return _only(table.name, query, named)
    return _only(table.name, query, [obj for obj in reader.list(table) if obj.id.startswith(query)])


def _check_query(kind: str, query: str) -> None:
    if not query or len(query) > _QUERY_CHARS_MAX:
        raise errors.Invalid(f"name a {kind} by its id or its name", reason=f"{kind.upper()}_NOT_NAMED")


def _only(kind: str, query: str, found: Sequence[M]) -> M:
    if not found:
        raise errors.NotFound(
            f"{kind} {query} not found", reason=f"{kind.upper()}_NOT_FOUND", metadata={kind: query}
        )
    if len(found) > 1:
        ids = ", ".join(sorted(obj.id for obj in found)[:_SHOWN_MAX])
        raise errors.FailedPrecondition(
            f"{kind} {query} is ambiguous: {len(found)} match ({ids}); give more of the id",
            reason=f"{kind.upper()}_AMBIGUOUS",
            metadata={kind: query},
        )
    return found[0]
