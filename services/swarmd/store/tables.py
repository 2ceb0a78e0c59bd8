"""The registry of what the store holds: one table per kind of object, with its indexes.

Objects are the protobuf messages of `objects.proto`, treated as values: once an object is in the store it is never
changed in place. To change one, copy it (`copy_of`), set fields on the copy, and hand it to a transaction.

A new kind of object is added here, as a field of `StoreObject` in `store.proto`, and nowhere else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from beeyard.swarm.v1 import objects_pb2

Object: TypeAlias = (
    objects_pb2.Cluster
    | objects_pb2.Node
    | objects_pb2.Service
    | objects_pb2.Task
    | objects_pb2.SwarmNetwork
    | objects_pb2.Secret
    | objects_pb2.Config
)
"""Any kind of object. All have an `id`, and a `meta` that the store alone writes."""

M = TypeVar("M", bound=Object)


@dataclass(frozen=True, slots=True, eq=False)
class Index(Generic[M]):
    """Finds objects of one table by a property.

    Args:
        table: Name of the table that it belongs to.
        name: Names it within that table.
        keys: The keys that an object is found under; none if it is not in the index.
    """

    table: str
    name: str
    keys: Callable[[M], Iterable[Hashable]]


@dataclass(frozen=True, slots=True, eq=False)
class Table(Generic[M]):
    """One kind of object.

    Args:
        name: The field of `StoreObject` that holds it; also names the kind in messages.
        message: Class of its objects.
        unique_name: The name that no two objects of the table share without regard to case; None if there is none.
    """

    name: str
    message: type[M]
    unique_name: Callable[[M], str] | None = None

    def index(self, name: str, keys: Callable[[M], Iterable[Hashable]]) -> Index[M]:
        """Declare an index of this table."""
        return Index(self.name, name, keys)


def copy_of(obj: M) -> M:
    """Return a copy that may be changed, to be handed to a transaction."""
    return copy.deepcopy(obj)


CLUSTERS = Table("cluster", objects_pb2.Cluster, lambda cluster: cluster.spec.annotations.name)
NODES = Table("node", objects_pb2.Node)
SERVICES = Table("service", objects_pb2.Service, lambda service: service.spec.annotations.name)
TASKS = Table("task", objects_pb2.Task)
NETWORKS = Table("network", objects_pb2.SwarmNetwork, lambda network: network.spec.annotations.name)
SECRETS = Table("secret", objects_pb2.Secret, lambda secret: secret.spec.annotations.name)
CONFIGS = Table("config", objects_pb2.Config, lambda config: config.spec.annotations.name)

TABLES: tuple[Table[Any], ...] = (CLUSTERS, NODES, SERVICES, TASKS, NETWORKS, SECRETS, CONFIGS)
"""In the order in which a snapshot holds them."""


def _names(name: str) -> tuple[str, ...]:
    return (name.casefold(),) if name else ()


CLUSTERS_BY_NAME = CLUSTERS.index("name", lambda cluster: _names(cluster.spec.annotations.name))
NETWORKS_BY_NAME = NETWORKS.index("name", lambda network: _names(network.spec.annotations.name))
SECRETS_BY_NAME = SECRETS.index("name", lambda secret: _names(secret.spec.annotations.name))
CONFIGS_BY_NAME = CONFIGS.index("name", lambda config: _names(config.spec.annotations.name))

NODES_BY_HOSTNAME = NODES.index("hostname", lambda node: _names(node.description.hostname))

SERVICES_BY_NAME = SERVICES.index("name", lambda service: _names(service.spec.annotations.name))
SERVICES_BY_SECRET = SERVICES.index("secret", lambda service: {ref.id for ref in service.spec.task.secrets})
SERVICES_BY_CONFIG = SERVICES.index("config", lambda service: {ref.id for ref in service.spec.task.configs})
SERVICES_BY_NETWORK = SERVICES.index(
    "network", lambda service: {attachment.target for attachment in service.spec.task.networks}
)

TASKS_BY_SERVICE = TASKS.index("service", lambda task: (task.service_id,))
TASKS_BY_NODE = TASKS.index("node", lambda task: (task.node_id,) if task.node_id else ())
TASKS_BY_SLOT = TASKS.index("slot", lambda task: ((task.service_id, task.slot or task.node_id),))
TASKS_BY_DESIRED_STATE = TASKS.index("desired_state", lambda task: (task.desired_state,))

INDEXES: tuple[Index[Any], ...] = (
    CLUSTERS_BY_NAME,
    NETWORKS_BY_NAME,
    SECRETS_BY_NAME,
    CONFIGS_BY_NAME,
    NODES_BY_HOSTNAME,
    SERVICES_BY_NAME,
    SERVICES_BY_SECRET,
    SERVICES_BY_CONFIG,
    SERVICES_BY_NETWORK,
    TASKS_BY_SERVICE,
    TASKS_BY_NODE,
    TASKS_BY_SLOT,
    TASKS_BY_DESIRED_STATE,
)
