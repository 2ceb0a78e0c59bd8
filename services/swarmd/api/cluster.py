"""ClusterService: what concerns the asked node's own membership, and the swarm as a whole."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors, log
from services.swarmd.ca import authority, keys, tokens
from services.swarmd.members import cluster, settings
from services.swarmd.members.life import Init, Join, Phase
from services.swarmd.store import refusals, tables

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.kit.seams import Clock
    from services.swarmd.gateway.ports import CallerPort, LeaderPort
    from services.swarmd.members.life import LocalView
    from services.swarmd.store.store import Store
    from services.swarmd.store.transaction import Tx

_log = log.get(__name__)

SPEC_BYTES_MAX: Final = 1 << 20
UNLOCK_UNSUPPORTED: Final = "autolock is not supported by this release: there is no unlock key"

_STATES: Final = {
    Phase.INACTIVE: control_pb2.LOCAL_SWARM_STATE_INACTIVE,
    Phase.PENDING: control_pb2.LOCAL_SWARM_STATE_PENDING,
    Phase.ACTIVE: control_pb2.LOCAL_SWARM_STATE_ACTIVE,
    Phase.LOCKED: control_pb2.LOCAL_SWARM_STATE_LOCKED,
    Phase.ERROR: control_pb2.LOCAL_SWARM_STATE_ERROR,
}


class ManagerView(Protocol):
    """A running manager, as far as the swarm's own object goes."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def leadership(self) -> LeaderPort:
        """Who leads."""
        ...


class NodePort(Protocol):
    """The life of the node."""

    async def init(self, wish: Init, /) -> str:
        """Found a swarm; return the address at which others join."""
        ...

    async def join(self, wish: Join, /) -> None:
        """Become a member."""
        ...

    async def leave(self, *, force: bool) -> None:
        """Cease to be one."""
        ...

    def local_view(self) -> LocalView:
        """Tell what the node knows."""
        ...

    def manager(self) -> ManagerView:
        """Return the running manager. Raises NOT_A_MANAGER, NOT_IN_SWARM."""
        ...

    def join_address(self) -> str:
        """Return the address at which others join the swarm."""
        ...


class ClusterServicer(control_pb2_grpc.ClusterServiceServicer):
    """Installed on every node, always."""

    def __init__(self, node: NodePort, callers: CallerPort, clock: Clock) -> None:
        self._node = node
        self._callers = callers
        self._clock = clock

    # The asked node.

    async def InitSwarm(
        self, request: control_pb2.InitSwarmRequest, _context: Context
    ) -> control_pb2.InitSwarmResponse:
        """Found a swarm on this node."""
        settings.check(request.spec)
        join_address = await self._node.init(
            Init(
                spec=request.spec,
                availability=request.availability or objects_pb2.NODE_AVAILABILITY_ACTIVE,
                listen_address=request.listen_address,
                advertise_address=request.advertise_address,
                force_new_cluster=request.force_new_cluster,
            )
        )
        swarm = cluster.of(self._node.manager().store.view())
        return control_pb2.InitSwarmResponse(
            node_id=self._node.local_view().node_id,
            cluster_id=swarm.id,
            join_tokens=swarm.root_ca.join_tokens,
            join_address=join_address,
        )

    async def JoinSwarm(
        self, request: control_pb2.JoinSwarmRequest, _context: Context
    ) -> control_pb2.JoinSwarmResponse:
        """Make this node a member."""
        await self._node.join(
            Join(
                remote_addresses=tuple(request.remote_addresses),
                token=request.token,
                availability=request.availability or objects_pb2.NODE_AVAILABILITY_ACTIVE,
                listen_address=request.listen_address,
                advertise_address=request.advertise_address,
            )
        )
        view = self._node.local_view()
        return control_pb2.JoinSwarmResponse(node_id=view.node_id, role=_role(view))

    async def LeaveSwarm(
        self, request: control_pb2.LeaveSwarmRequest, _context: Context
    ) -> control_pb2.LeaveSwarmResponse:
        """Take this node out."""
        await self._node.leave(force=request.force)
        return control_pb2.LeaveSwarmResponse()

    async def UnlockSwarm(
        self, _request: control_pb2.UnlockSwarmRequest, _context: Context
    ) -> control_pb2.UnlockSwarmResponse:
        """Refuse: nothing is locked."""
        if self._node.local_view().phase is Phase.LOCKED:
            raise errors.Unsupported("this release cannot unlock a swarm")
        raise errors.FailedPrecondition("swarm is not locked", reason="NOT_LOCKED")

    async def GetLocalState(
        self, _request: control_pb2.GetLocalStateRequest, _context: Context
    ) -> control_pb2.GetLocalStateResponse:
        """Tell what this node knows."""
        view = self._node.local_view()
        response = control_pb2.GetLocalStateResponse(
            state=_STATES[view.phase],
            node_id=view.node_id,
            node_address=view.address,
            role=_role(view),
            cluster_id=view.cluster_id,
            error=view.error,
            managers=[
                control_pb2.ManagerPeer(node_id=place.node_id, address=place.address)
                for place in view.managers
            ],
            leader_node_id=view.leader_node_id,
            raft_term=view.raft_term,
            raft_applied=view.raft_applied,
        )
        if view.certificate_expires_at is not None:
            response.certificate_expires_at.FromDatetime(view.certificate_expires_at)
        return response

    # The swarm.

    async def GetCluster(
        self, request: control_pb2.GetClusterRequest, _context: Context
    ) -> control_pb2.GetClusterResponse:
        """Return the swarm, without keys."""
        manager = self._node.manager()
        stale = await manager.leadership.read_barrier(request.consistency)
        return control_pb2.GetClusterResponse(
            cluster=cluster.without_keys(cluster.of(manager.store.view())), stale=stale
        )

    async def UpdateCluster(
        self, request: control_pb2.UpdateClusterRequest, _context: Context
    ) -> control_pb2.UpdateClusterResponse:
        """Change settings, rotate tokens."""
        if request.ByteSize() > SPEC_BYTES_MAX:
            raise errors.Invalid("the settings are too large", reason="SPEC_TOO_LARGE")
        settings.check(request.spec)
        if request.rotate_unlock_key:
            raise errors.Unsupported(UNLOCK_UNSUPPORTED)
        manager = self._node.manager()
        manager.leadership.require_leading()

        def change(tx: Tx) -> None:
            swarm = tables.copy_of(cluster.of(tx))
            if swarm.meta.version != request.version:
                raise refusals.out_of_sequence("cluster", swarm.id)
            if request.spec.annotations.name not in {"", swarm.spec.annotations.name}:
                raise errors.Invalid("a swarm cannot be renamed", reason="SPEC_INVALID")
            name = swarm.spec.annotations.name
            swarm.spec.CopyFrom(request.spec)
            swarm.spec.annotations.name = name
            _rotate(swarm, worker=request.rotate_worker_token, manager=request.rotate_manager_token)
            tx.update(tables.CLUSTERS, swarm)

        await manager.store.update(change)
        return control_pb2.UpdateClusterResponse(
            cluster=cluster.without_keys(cluster.of(manager.store.view()))
        )

    async def GetJoinTokens(
        self, request: control_pb2.GetJoinTokensRequest, _context: Context
    ) -> control_pb2.GetJoinTokensResponse:
        """Return the tokens, rotating them first if asked."""
        manager = self._node.manager()
        manager.leadership.require_leading()
        if request.rotate_worker or request.rotate_manager:

            def rotate(tx: Tx) -> None:
                swarm = tables.copy_of(cluster.of(tx))
                _rotate(swarm, worker=request.rotate_worker, manager=request.rotate_manager)
                tx.update(tables.CLUSTERS, swarm)

            await manager.store.update(rotate)
        swarm = cluster.of(manager.store.view())
        return control_pb2.GetJoinTokensResponse(
            tokens=swarm.root_ca.join_tokens, join_address=self._node.join_address()
        )

    async def GetUnlockKey(
        self, request: control_pb2.GetUnlockKeyRequest, _context: Context
    ) -> control_pb2.GetUnlockKeyResponse:
        """Return the unlock key: without autolock there is none."""
        if request.rotate:
            raise errors.Unsupported(UNLOCK_UNSUPPORTED)
        swarm = cluster.of(self._node.manager().store.view())
        return control_pb2.GetUnlockKeyResponse(unlock_key=cluster.unlock_key_text(swarm.unlock_key))

    async def IssueClientCertificate(
        self, request: control_pb2.IssueClientCertificateRequest, context: Context
    ) -> control_pb2.IssueClientCertificateResponse:
        """Give a client a certificate of its own."""
        public_key = keys.public_key_of_request(request.csr_pem)
        swarm = cluster.of(self._node.manager().store.view())
        life = timedelta(milliseconds=request.expiry_ms) if request.expiry_ms else authority.CLIENT_LIFE
        certificate = cluster.root_of(swarm).sign_client(
            public_key, name=request.name, cluster_id=swarm.id, now=self._clock.now(), life=life
        )
        _log.info(
            "client_certificate_issued",
            name=request.name,
            life_s=life.total_seconds(),
            asked_node_id=self._callers.caller(context).asked_node_id,
        )
        return control_pb2.IssueClientCertificateResponse(
            certificate_pem=certificate, root_pem=swarm.root_ca.certificate_pem
        )


def _rotate(swarm: objects_pb2.Cluster, *, worker: bool, manager: bool) -> None:
    digest = bytes.fromhex(swarm.root_ca.digest)
    if worker:
        swarm.root_ca.join_tokens.worker = str(tokens.new(digest))
    if manager:
        swarm.root_ca.join_tokens.manager = str(tokens.new(digest))


def _role(view: LocalView) -> objects_pb2.NodeRole.ValueType:
    if not view.node_id:
        return objects_pb2.NODE_ROLE_UNSPECIFIED
    return objects_pb2.NODE_ROLE_MANAGER if view.is_manager else objects_pb2.NODE_ROLE_WORKER
