"""The store's nodes as `roles` sees them, and what its steps write back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.members.roles import Grant, NodeFacts, Show, Withdraw
from services.swarmd.store import tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.swarmd.members.roles import Step
    from services.swarmd.store.transaction import Tx
    from services.swarmd.store.views import Reader


def of_nodes(store: Reader) -> list[NodeFacts]:
    """Return all nodes, by id."""
    return [
        NodeFacts(
            node_id=node.id,
            wants_manager=node.spec.role == objects_pb2.NODE_ROLE_MANAGER,
            is_manager=node.role == objects_pb2.NODE_ROLE_MANAGER,
            raft_id=node.manager.raft_id,
            address=node.manager.address,
        )
        for node in sorted(store.list(tables.NODES), key=lambda node: node.id)
    ]


def apply(tx: Tx, steps: Iterable[Step]) -> None:
    """Do in a transaction what steps want of the store; nodes that are gone meanwhile are left out."""
    for step in steps:
        if not isinstance(step, Grant | Withdraw | Show):
            continue
        node = tx.get(tables.NODES, step.node_id)
        if node is None:
            continue
        node = tables.copy_of(node)
        match step:
            case Grant():
                node.role = objects_pb2.NODE_ROLE_MANAGER
            case Withdraw():
                node.role = objects_pb2.NODE_ROLE_WORKER
            case Show(_, 0, _):
                node.ClearField("manager")
            case Show(_, raft_id, address):
                node.manager.raft_id = raft_id
                node.manager.address = address
        tx.update(tables.NODES, node)
