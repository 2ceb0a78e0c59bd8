"""MembershipService: how managers become members of raft, and cease to be."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc, objects_pb2
from services.kit import errors, log
from services.swarmd.gateway.channels import connected
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.members import addresses, facts, roles
from services.swarmd.store import tables

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.kit.seams import Clock
    from services.swarmd.gateway.managers import Dial
    from services.swarmd.gateway.ports import CallerPort, LeaderPort
    from services.swarmd.members.ports import Consensus
    from services.swarmd.members.roles import MemberFacts
    from services.swarmd.store.store import Store
    from services.swarmd.store.transaction import Tx


_log = log.get(__name__)

DIAL_BACK_S: Final = 5.0
LEAVE_TIMEOUT_S: Final = 10.0
LEAVE_LOOK_S: Final = 0.1
RAFT_ID_MAX: Final = (1 << 63) - 1


class MembershipServicer(enrolment_pb2_grpc.MembershipServiceServicer):
    """Installed on every manager; only the leader acts."""

    def __init__(
        self,
        *,
        store: Store,
        consensus: Consensus,
        leader: LeaderPort,
        callers: CallerPort,
        dial: Dial,
        clock: Clock,
    ) -> None:
        self._store = store
        self._consensus = consensus
        self._leader = leader
        self._callers = callers
        self._dial = dial
        self._clock = clock

    async def JoinRaft(
        self, request: enrolment_pb2.JoinRaftRequest, context: Context
    ) -> enrolment_pb2.JoinRaftResponse:
        """Make the caller a learner. The role manager gives it its vote when it has caught up."""
        node_id = self._callers.caller(context).node_id
        self._leader.require_leading()
        self._require_wanted(node_id)
        host, port = addresses.parse(request.address)
        address = addresses.render(host, port)
        await self._dial_back(node_id, address)
        self._leader.require_leading()
        member = self._member(node_id)
        if member is not None and member.voter:
            # It has lost the log that its votes were made by: it must not vote under the same id again.
            roles.check_removal(self._consensus.members(), member.raft_id)
            await self._consensus.remove(member.raft_id)
            member = None
        if member is None:
            raft_id = secrets.randbelow(RAFT_ID_MAX) + 1
            await self._consensus.add_learner(raft_id, node_id, address)
            _log.info("raft_member_added", node_id=node_id, raft_id=raft_id, address=address)
        else:
            raft_id = member.raft_id
            if member.address != address:
                await self._consensus.readdress(raft_id, address)
        shown = [roles.Show(node_id, raft_id, address)]
        await self._store.update(lambda tx: facts.apply(tx, shown))
        return enrolment_pb2.JoinRaftResponse(raft_id=raft_id, members=self._peers())

    async def LeaveRaft(
        self, request: enrolment_pb2.LeaveRaftRequest, context: Context
    ) -> enrolment_pb2.LeaveRaftResponse:
        """Take a member out: wish it to be a worker, and wait until the role manager has done it."""
        node_id = request.node_id or self._callers.caller(context).node_id
        self._leader.require_leading()
        member = self._member(node_id)
        if member is None:
            return enrolment_pb2.LeaveRaftResponse()
        if not request.force:
            roles.check_removal(self._consensus.members(), member.raft_id)
        await self._store.update(lambda tx: _wish_worker(tx, node_id))
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                while self._member(node_id) is not None:
                    self._leader.require_leading()  # it may have handed over to do it
                    await self._clock.sleep(LEAVE_LOOK_S)
        except TimeoutError:
            raise errors.Unavailable(
                f"manager {node_id} is to leave raft, and has not left within {LEAVE_TIMEOUT_S:g} s",
                reason="QUORUM_AT_RISK",
            ) from None
        return enrolment_pb2.LeaveRaftResponse()

    def _require_wanted(self, node_id: str) -> None:
        node = self._store.view().get(tables.NODES, node_id)
        if node is None:
            raise errors.NotFound(
                f"node {node_id} is not part of the swarm: it was removed", reason="NODE_REMOVED"
            )
        if node.spec.role != objects_pb2.NODE_ROLE_MANAGER:
            raise errors.FailedPrecondition(
                f"node {node_id} is not wanted as a manager", reason="MEMBER_REMOVED"
            )

    async def _dial_back(self, node_id: str, address: str) -> None:
        channel = self._dial(NodePlace(node_id=node_id, address=address), node_id)
        if not await connected(channel, DIAL_BACK_S):
            raise errors.FailedPrecondition(
                f"the leader cannot reach {node_id} at {address}, the address that it advertises",
                reason="MANAGER_UNREACHABLE",
            )

    def _member(self, node_id: str) -> MemberFacts | None:
        return next((it for it in self._consensus.members() if it.node_id == node_id), None)

    def _peers(self) -> list[enrolment_pb2.RaftPeer]:
        return [
            enrolment_pb2.RaftPeer(
                raft_id=member.raft_id,
                node_id=member.node_id,
                address=member.address,
                learner=not member.voter,
            )
            for member in self._consensus.members()
        ]


def _wish_worker(tx: Tx, node_id: str) -> None:
    node = tx.get(tables.NODES, node_id)
    if node is not None:
        node = tables.copy_of(node)
        node.spec.role = objects_pb2.NODE_ROLE_WORKER
        tx.update(tables.NODES, node)
