"""What the dispatcher writes into the objects of nodes, and what it tells a node of itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import dispatcher_pb2, objects_pb2
from services.swarmd.store.tables import CLUSTERS, NODES, copy_of

if TYPE_CHECKING:
    from datetime import datetime

    from services.swarmd.store.views import Reader

_HEARD_OF = frozenset({objects_pb2.NODE_STATE_READY, objects_pb2.NODE_STATE_UNKNOWN})


def expected(reader: Reader) -> list[str]:
    """Return the nodes that a new leader waits for."""
    return sorted(node.id for node in reader.list(NODES) if is_expected(node))


def is_expected(node: objects_pb2.Node) -> bool:
    """Say whether a node should be there, as far as is known."""
    return node.status.state in _HEARD_OF


def ready(
    node: objects_pb2.Node, description: objects_pb2.NodeDescription, address: str, now: datetime
) -> objects_pb2.Node | None:
    """Return the node as one that has opened a session; None if nothing of it is new."""
    changed = copy_of(node)
    changed.description.CopyFrom(description)
    changed.status.address = address
    if node.status.state != objects_pb2.NODE_STATE_READY:
        _set_state(changed, objects_pb2.NODE_STATE_READY, "", now)
    return changed if changed != node else None


def unknown(node: objects_pb2.Node, now: datetime) -> objects_pb2.Node | None:
    """Return the node as one that this leader has not heard of; None if it was not ready before."""
    if node.status.state != objects_pb2.NODE_STATE_READY:
        return None
    changed = copy_of(node)
    _set_state(changed, objects_pb2.NODE_STATE_UNKNOWN, "not heard of since the leader changed", now)
    return changed


def down(node: objects_pb2.Node, now: datetime) -> objects_pb2.Node | None:
    """Return the node as one that misses its heartbeats; None if it is known to be away."""
    if node.status.state not in _HEARD_OF:
        return None
    changed = copy_of(node)
    _set_state(changed, objects_pb2.NODE_STATE_DOWN, "heartbeat failure", now)
    return changed


def period_s(reader: Reader, default_s: float) -> float:
    """Return the pace of heartbeats that the swarm is set to."""
    for cluster in reader.list(CLUSTERS):
        if cluster.spec.heartbeat_period_ms:
            return cluster.spec.heartbeat_period_ms / 1000
    return default_s


def session_message(
    reader: Reader, node_id: str, session_id: str, heartbeat_period_ms: int
) -> dispatcher_pb2.OpenSessionResponse | None:
    """Return what a node is told of itself and of the managers; None if the swarm does not know it."""
    node = reader.get(NODES, node_id)
    if node is None:
        return None
    message = dispatcher_pb2.OpenSessionResponse(
        session_id=session_id, node=node, heartbeat_period_ms=heartbeat_period_ms
    )
    managers = [other for other in reader.list(NODES) if other.manager.address]
    for manager in sorted(managers, key=lambda other: other.id):
        message.managers.add(node_id=manager.id, address=manager.manager.address)
    for cluster in reader.list(CLUSTERS):
        message.trust_pem = cluster.root_ca.certificate_pem
    return message


def _set_state(
    node: objects_pb2.Node, state: objects_pb2.NodeState.ValueType, message: str, now: datetime
) -> None:
    node.status.state = state
    node.status.message = message
    node.status.since.FromDatetime(now)
