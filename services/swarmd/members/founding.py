"""The beginning of a swarm: its object, its first node, its first manager's certificate. Pure, but for the keys."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.ca import authority, keys
from services.swarmd.identity import Credentials, ManagerRecord, MemberState
from services.swarmd.members import cluster
from services.swarmd.store import tables

if TYPE_CHECKING:
    from datetime import datetime

    from services.kit.seams import NewId
    from services.swarmd.members.life import Init
    from services.swarmd.store.transaction import Tx

RAFT_ID_MAX: Final = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What the first manager puts into the store."""

    cluster: objects_pb2.Cluster
    node: objects_pb2.Node


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refounding:
    """The swarm goes on with one manager, because the others are lost for good."""


def keep_alone(tx: Tx, node_id: str) -> None:
    """Make all managers but one workers: should they come back, they must not take part in the old consensus."""
    for node in tx.list(tables.NODES):
        if node.id != node_id and (
            node.HasField("manager") or node.spec.role == objects_pb2.NODE_ROLE_MANAGER
        ):
            worker = tables.copy_of(node)
            worker.spec.role = worker.role = objects_pb2.NODE_ROLE_WORKER
            worker.ClearField("manager")
            tx.update(tables.NODES, worker)


def found(
    wish: Init,
    *,
    listen: str,
    enroll: str,
    advertise: str,
    description: objects_pb2.NodeDescription,
    now: datetime,
    new_id: NewId,
) -> tuple[MemberState, Credentials, Founding]:
    """Return the beginning of a new swarm, of which the node is the only manager."""
    root = authority.new(now)
    cluster_id, key = new_id(), keys.new()
    node_id = cluster.node_id_of(key.public_key())
    swarm = cluster.new(cluster_id, wish.spec, root)
    state = MemberState(
        cluster_id=cluster_id,
        node_id=node_id,
        listen_address=listen,
        enroll_address=enroll,
        advertise_address=advertise,
        raft_id=secrets.randbelow(RAFT_ID_MAX) + 1,
        managers=(ManagerRecord(node_id=node_id, address=advertise),),
    )
    certificate_pem = root.sign_node(
        key.public_key(),
        node_id=node_id,
        manager=True,
        cluster_id=cluster_id,
        now=now,
        life=cluster.node_life(swarm),
    )
    credentials = Credentials(
        trust_pem=root.root_pem, certificate_pem=certificate_pem, key_pem=keys.to_pem(key)
    )
    node = objects_pb2.Node(
        id=node_id,
        spec=objects_pb2.NodeSpec(role=objects_pb2.NODE_ROLE_MANAGER, availability=wish.availability),
        role=objects_pb2.NODE_ROLE_MANAGER,
        description=description,
        status=objects_pb2.NodeStatus(state=objects_pb2.NODE_STATE_UNKNOWN, message="it founded the swarm"),
        manager=objects_pb2.ManagerStatus(raft_id=state.raft_id, address=advertise),
    )
    return state, credentials, Founding(cluster=swarm, node=node)
