"""EnrolmentService: how the swarm takes machines in, and renews the certificates of its members.

A node that was taken in is in the replicated store before its certificate leaves; a certificate that gets lost on the
way leaves a node that never came, which `node rm` removes.
"""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc, objects_pb2
from services.kit import errors, log
from services.kit.rpc import client
from services.swarmd.ca import keys, tokens
from services.swarmd.gateway import metadata, routing
from services.swarmd.gateway.ports import CallerKind
from services.swarmd.members import cluster
from services.swarmd.store import tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kit.rpc.types import Context
    from services.kit.seams import Clock
    from services.swarmd.gateway.managers import Dial
    from services.swarmd.gateway.ports import CallerPort, LeaderPort
    from services.swarmd.store.store import Store
    from services.swarmd.store.transaction import Tx

_log = log.get(__name__)

FORWARD_TIMEOUT_S: Final = 10.0


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """Installed on every manager."""

    def __init__(
        self,
        *,
        trust_pem: Callable[[], bytes],
        store: Store,
        leader: LeaderPort,
        callers: CallerPort,
        dial: Dial,
        clock: Clock,
    ) -> None:
        self._trust_pem = trust_pem
        self._store = store
        self._leader = leader
        self._callers = callers
        self._dial = dial
        self._clock = clock

    async def GetRootCertificate(
        self, request: enrolment_pb2.GetRootCertificateRequest, context: Context
    ) -> enrolment_pb2.GetRootCertificateResponse:
        """Return the root."""
        return enrolment_pb2.GetRootCertificateResponse(certificate_pem=self._trust_pem())

    async def IssueNodeCertificate(
        self, request: enrolment_pb2.IssueNodeCertificateRequest, context: Context
    ) -> enrolment_pb2.IssueNodeCertificateResponse:
        """Take a machine in, or let the leader do it."""
        if not self._leader.leading():
            return await self._through_leader(request, context)
        public_key = keys.public_key_of_request(request.csr_pem)
        node_id = cluster.node_id_of(public_key)
        token = tokens.parse(request.token)
        availability = request.availability or objects_pb2.NODE_AVAILABILITY_ACTIVE

        def take_in(tx: Tx) -> tuple[objects_pb2.Cluster, objects_pb2.Node]:
            swarm = cluster.of(tx)
            role = cluster.role_of(swarm, token)
            node = tx.get(tables.NODES, node_id)
            if node is None:
                node = objects_pb2.Node(
                    id=node_id,
                    spec=objects_pb2.NodeSpec(role=role, availability=availability),
                    role=role,
                    status=objects_pb2.NodeStatus(
                        state=objects_pb2.NODE_STATE_UNKNOWN,
                        message="it has its certificate",
                        since=self._now(),
                    ),
                )
                tx.create(tables.NODES, node)
            return swarm, node

        swarm, node = await self._store.update(take_in)
        certificate = cluster.root_of(swarm).sign_node(
            public_key,
            node_id=node.id,
            manager=node.role == objects_pb2.NODE_ROLE_MANAGER,
            cluster_id=swarm.id,
            now=self._clock.now(),
            life=cluster.node_life(swarm),
        )
        _log.info(
            "node_enrolled", node_id=node.id, role=objects_pb2.NodeRole.Name(node.role), peer=context.peer()
        )
        return enrolment_pb2.IssueNodeCertificateResponse(
            node_id=node.id,
            role=node.role,
            certificate_pem=certificate,
            root_pem=swarm.root_ca.certificate_pem,
            manager_addresses=self._manager_addresses(),
            cluster_id=swarm.id,
        )

    async def RenewNodeCertificate(
        self, request: enrolment_pb2.RenewNodeCertificateRequest, context: Context
    ) -> enrolment_pb2.RenewNodeCertificateResponse:
        """Sign anew for the calling node, with the role that it is granted now."""
        node_id = self._calling_node(context)
        self._leader.require_leading()
        public_key = keys.public_key_of_request(request.csr_pem)
        view = self._store.view()
        node, swarm = view.get(tables.NODES, node_id), cluster.of(view)
        if node is None:
            raise _removed(node_id)
        certificate = cluster.root_of(swarm).sign_node(
            public_key,
            node_id=node_id,
            manager=node.role == objects_pb2.NODE_ROLE_MANAGER,
            cluster_id=swarm.id,
            now=self._clock.now(),
            life=cluster.node_life(swarm),
        )
        _log.info("certificate_renewed", node_id=node_id, role=objects_pb2.NodeRole.Name(node.role))
        return enrolment_pb2.RenewNodeCertificateResponse(
            certificate_pem=certificate, role=node.role, trust_pem=swarm.root_ca.certificate_pem
        )

    async def ResignMembership(
        self, request: enrolment_pb2.ResignMembershipRequest, context: Context
    ) -> enrolment_pb2.ResignMembershipResponse:
        """Note that the calling node leaves."""
        node_id = self._calling_node(context)
        self._leader.require_leading()

        def resign(tx: Tx) -> None:
            node = tx.get(tables.NODES, node_id)
            if node is None:
                return
            node = tables.copy_of(node)
            node.status.state = objects_pb2.NODE_STATE_DISCONNECTED
            node.status.message = "it has left the swarm"
            node.status.since.CopyFrom(self._now())
            tx.update(tables.NODES, node)

        await self._store.update(resign)
        _log.info("node_left", node_id=node_id)
        return enrolment_pb2.ResignMembershipResponse()

    async def _through_leader(
        self, request: enrolment_pb2.IssueNodeCertificateRequest, context: Context
    ) -> enrolment_pb2.IssueNodeCertificateResponse:
        leader = self._leader.leader()
        hop = metadata.parse(context.invocation_metadata() or ()).hop
        if leader is None or hop:
            raise routing.not_leader(leader)
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(self._dial(leader, leader.node_id))
        return await client.call(
            stub.IssueNodeCertificate(request, timeout=FORWARD_TIMEOUT_S, metadata=((metadata.HOP, "1"),))
        )

    def _calling_node(self, context: Context) -> str:
        caller = self._callers.caller(context)
        if caller.kind not in {CallerKind.MANAGER, CallerKind.WORKER}:
            raise errors.PermissionDenied("only nodes of the swarm may call this", reason="NOT_A_NODE")
        return caller.node_id

    def _manager_addresses(self) -> list[str]:
        return sorted(
            node.manager.address for node in self._store.view().list(tables.NODES) if node.manager.address
        )

    def _now(self) -> Timestamp:
        time = Timestamp()
        time.FromDatetime(self._clock.now())
        return time


def _removed(node_id: str) -> errors.NotFound:
    return errors.NotFound(f"node {node_id} is not part of the swarm: it was removed", reason="NODE_REMOVED")
