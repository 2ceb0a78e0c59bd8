"""NodeService."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors, log
from services.swarmd.api import filters, paging
from services.swarmd.api.checks.names import check_annotations
from services.swarmd.api.checks.refusal import check_enum, check_labels
from services.swarmd.gateway.lookup import node_named
from services.swarmd.members import cluster, roles
from services.swarmd.store import refusals
from services.swarmd.store.tables import CLUSTERS, NODES, copy_of

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager, RaftMembers
    from services.swarmd.store.transaction import Tx
    from services.swarmd.store.views import Reader

_log = log.get(__name__)

SELF = "self"

_WORKER, _MANAGER = objects_pb2.NODE_ROLE_WORKER, objects_pb2.NODE_ROLE_MANAGER
_ROLES = {_WORKER: "worker", _MANAGER: "manager"}
_REMOVABLE = frozenset({objects_pb2.NODE_STATE_DOWN, objects_pb2.NODE_STATE_DISCONNECTED})
_FILTER: filters.Filter[objects_pb2.Node] = filters.Filter(
    {
        "id": lambda node, value: node.id.startswith(value),
        "name": lambda node, value: _name(node).startswith(value),
        "role": lambda node, value: _ROLES.get(node.role or node.spec.role) == value.lower(),
        "membership": lambda _node, value: value.lower() == "accepted",  # whoever is in the store was let in
    },
    {
        "label": lambda node, value: filters.has_label(node.description.engine_labels, value),
        "node.label": lambda node, value: filters.has_label(node.spec.annotations.labels, value),
    },
)


class NodeServicer(control_pb2_grpc.NodeServiceServicer):
    """Shows, changes and forgets nodes."""

    def __init__(self, manager: Manager, raft: RaftMembers) -> None:
        self._manager = manager
        self._raft = raft
        # Two demotions are changes of two objects: only one after the other do they see each other.
        self._roles = asyncio.Lock()

    async def ListNodes(
        self, request: control_pb2.ListNodesRequest, context: Context
    ) -> control_pb2.ListNodesResponse:
        """Page through the nodes."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        found = _FILTER.apply(self._manager.store.view().list(NODES), request.filters)
        page = paging.page(
            found, lambda node: (_name(node), node.id), size=request.page_size, token=request.page_token
        )
        return control_pb2.ListNodesResponse(
            nodes=[self._shown(node) for node in page.items],
            next_page_token=page.next_token,
            stale=stale,
            self_node_id=self._manager.callers.caller(context).asked_node_id,
        )

    async def GetNode(
        self, request: control_pb2.GetNodeRequest, context: Context
    ) -> control_pb2.GetNodeResponse:
        """Return one node."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        node = self._named(self._manager.store.view(), request.node, context)
        return control_pb2.GetNodeResponse(node=self._shown(node), stale=stale)

    async def UpdateNode(
        self, request: control_pb2.UpdateNodeRequest, context: Context
    ) -> control_pb2.UpdateNodeResponse:
        """Set what the user decides of a node."""
        self._manager.leader.require_leading()
        spec = _checked(request.spec)

        def update(tx: Tx) -> str:
            node = self._named(tx, request.node, context)
            if node.meta.version != request.version:
                raise refusals.out_of_sequence("node", node.id)
            changed = copy_of(node)
            changed.spec.CopyFrom(spec)
            changed.spec.role = spec.role or node.spec.role or _WORKER
            self._check_role(tx, node, changed.spec.role)
            tx.update(NODES, changed)
            return node.id

        async with self._roles:
            node_id = await self._manager.store.update(update)
        node = self._named(self._manager.store.view(), node_id, context)
        _log.info("node_updated", node_id=node_id, role=node.spec.role, availability=spec.availability)
        return control_pb2.UpdateNodeResponse(node=self._shown(node))

    async def RemoveNode(
        self, request: control_pb2.RemoveNodeRequest, context: Context
    ) -> control_pb2.RemoveNodeResponse:
        """Forget a node, and refuse its certificate from now on."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> str:
            node = self._named(tx, request.node, context)
            self._check_removal(node, force=request.force)
            for present in tx.list(CLUSTERS):
                changed = copy_of(present)
                cluster.block(changed, node.id, self._manager.clock.now())
                tx.update(CLUSTERS, changed)
            tx.remove(NODES, node.id)
            return node.id

        async with self._roles:
            node_id = await self._manager.store.update(remove)
        _log.info("node_removed", node_id=node_id, force=request.force)
        return control_pb2.RemoveNodeResponse()

    def _named(self, reader: Reader, name: str, context: Context) -> objects_pb2.Node:
        if not name:
            raise errors.Invalid("name a node by its id, its host name or self", reason="NODE_NOT_NAMED")
        if name == SELF:
            name = self._manager.callers.caller(context).asked_node_id
        return node_named(reader, name)

    def _check_role(
        self, reader: Reader, node: objects_pb2.Node, role: objects_pb2.NodeRole.ValueType
    ) -> None:
        """Refuse to demote where the swarm would be left without a manager or without its quorum."""
        if role != _WORKER or _MANAGER not in {node.spec.role, node.role}:
            return
        others = (other for other in reader.list(NODES) if other.id != node.id)
        if not any(other.spec.role == _MANAGER for other in others):
            raise errors.FailedPrecondition(roles.LAST_MANAGER_MESSAGE, reason="LAST_MANAGER")
        members = self._raft.members()
        for member in members:
            if member.node_id == node.id:
                roles.check_removal(members, member.raft_id)

    def _check_removal(self, node: objects_pb2.Node, *, force: bool) -> None:
        name = _name(node) or node.id
        is_member = any(member.node_id == node.id for member in self._raft.members())
        if is_member or (node.spec.role == _MANAGER and not force):
            raise errors.FailedPrecondition(
                f"node {name} is a manager and must be demoted to a worker before it is removed",
                reason="NODE_IS_MANAGER",
                metadata={"node_id": node.id},
            )
        if node.status.state not in _REMOVABLE and not force:
            raise errors.FailedPrecondition(
                f"node {name} is not down and can't be removed: let it leave the swarm first, or use force",
                reason="NODE_NOT_DOWN",
                metadata={"node_id": node.id},
            )

    def _shown(self, node: objects_pb2.Node) -> objects_pb2.Node:
        """Return the node with what is not stored: who leads, and which managers can be reached."""
        if not node.manager.raft_id:
            return node
        shown, leader = copy_of(node), self._manager.leader.leader()
        shown.manager.leader = leader is not None and leader.node_id == node.id
        shown.manager.reachable = shown.manager.leader or any(
            member.node_id == node.id and member.reachable for member in self._raft.members()
        )
        return shown


def _name(node: objects_pb2.Node) -> str:
    return node.spec.annotations.name or node.description.hostname


def _checked(spec: objects_pb2.NodeSpec) -> objects_pb2.NodeSpec:
    """Return a copy of a spec that may be stored."""
    if spec.annotations.name:
        check_annotations("annotations", spec.annotations)
    check_labels("annotations.labels", spec.annotations.labels)
    check_enum("role", spec.role, objects_pb2.NodeRole.values())
    check_enum("availability", spec.availability, objects_pb2.NodeAvailability.values())
    copy = objects_pb2.NodeSpec()
    copy.CopyFrom(spec)
    copy.availability = copy.availability or objects_pb2.NODE_AVAILABILITY_ACTIVE
    return copy
