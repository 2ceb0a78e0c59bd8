"""Raft on this node: its files, its way to the others, and what the rest of the manager sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final, Self

from services.kit import errors, log
from services.kit.tasks import Supervisor
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.redialing import RedialingChannel
from services.swarmd.members.founding import Founding, Refounding
from services.swarmd.members.roles import MemberFacts
from services.swarmd.raft.core import safety
from services.swarmd.raft.core.membership import Member, of_voters
from services.swarmd.raft.shell.config import RaftConfig
from services.swarmd.raft.shell.disk import FileDisk
from services.swarmd.raft.shell.driver import RaftNode
from services.swarmd.raft.shell.sealing import KeyRing
from services.swarmd.raft.shell.storage import Identity, Storage, force_new_cluster
from services.swarmd.raft.shell.transport import GrpcTransport, RaftServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc.aio

    from services.swarmd.gateway.leadership import Leadership
    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.identity import IdentityStore, MemberState
    from services.swarmd.members.ground import Ground
    from services.swarmd.store.store import Store

_log = log.get(__name__)

PROPOSE_TIMEOUT_S: Final = 10.0
CHANGE_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 2.0
BEGIN_RETRY_S: Final = 0.05
LOOK_S: Final = 0.2
"""How often to look without notice: a leader is heard before a new member knows who and where it is."""


class Raft:
    """A running member of raft: `store.Proposer`, `members.ports.Consensus`. Made by `run`."""

    def __init__(self, node: RaftNode, config: RaftConfig, servicer: RaftServicer) -> None:
        self.servicer = servicer
        """Takes what the others send."""
        self.removed = asyncio.Event()
        """Set when this member was taken out for good."""
        self._node = node
        self._config = config

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        ground: Ground,
        *,
        state: MemberState,
        store: Store,
        nodes: Nodes,
        beginning: Founding | Refounding | None,
        config: RaftConfig | None = None,
    ) -> AsyncIterator[Self]:
        """Be a member of raft for the length of the block.

        Raises:
            errors.FailedPrecondition: STATE_CORRUPT, SWARM_LOCKED.
            errors.BeeyardError: The files cannot be used.
        """
        config = config or RaftConfig()
        disk = await asyncio.to_thread(FileDisk, ground.identity.raft_directory)

        def channel(member: Member) -> grpc.aio.Channel:
            place = NodePlace(node_id=member.node_id, address=member.address)
            return RedialingChannel(lambda: nodes.dial(place, member.node_id))

        transport = GrpcTransport(
            channel,
            lambda context: ground.callers.caller(context).node_id,
            state.advertise_address,
            ground.clock,
            ground.rng,
        )
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, disk.close)
            storage = await asyncio.to_thread(_open, disk, ground.identity, state, beginning)
            await stack.enter_async_context(transport)
            node = await stack.enter_async_context(
                RaftNode(config, storage, transport, store, ground.clock, ground.rng)
            )
            yield cls(node, config, RaftServicer(transport))

    @property
    def raft_id(self) -> int:
        """Id of this member."""
        return self._node.member_id

    @property
    def term(self) -> int:
        """The term."""
        return self._node.term

    @property
    def applied(self) -> int:
        """How far the log is applied here."""
        return self._node.applied_index

    async def propose(self, data: bytes) -> object:
        """Put an entry into the log; return what the store said to it. See `store.Proposer`."""
        return (await self._node.execute(data, PROPOSE_TIMEOUT_S)).result

    async def read_index(self) -> None:
        """Return when the store has everything that was acknowledged before the call."""
        await self._node.read_barrier(READ_TIMEOUT_S)

    async def follow(self, leadership: Leadership) -> None:
        """Tell `leadership` what raft says. Never returns."""
        async with Supervisor() as supervisor, self._node.watch_leadership() as changes:
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    self._tell(leadership, supervisor)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await anext(changes)
        await asyncio.Event().wait()  # raft is stopping, and we with it

    # Membership, on the leader.

    def members(self) -> Sequence[MemberFacts]:
        """Return the members, by raft id."""
        status = self._node.status()
        silent_max = self._config.settings.election_ticks_min
        heard = {peer.id for peer in status.peers if peer.silent_ticks <= silent_max}
        behind_max = self._config.caught_up_entries_max
        matched = {peer.id for peer in status.peers if status.last_index - peer.match <= behind_max}
        return [
            MemberFacts(
                raft_id=member.id,
                node_id=member.node_id,
                address=member.address,
                voter=status.config.is_voter(member.id),
                reachable=member.id in heard or member.id == status.id,
                caught_up=safety.caught_up(status, member.id, behind_max, silent_max)
                and (member.id in matched or member.id == status.id),
            )
            for member in status.config.members
        ]

    async def add_learner(self, raft_id: int, node_id: str, address: str) -> None:
        """Let a new member receive the log."""
        await self._node.add_member(Member(id=raft_id, node_id=node_id, address=address), CHANGE_TIMEOUT_S)

    async def promote(self, raft_id: int) -> None:
        """Give a learner its vote."""
        await self._node.promote(raft_id, CHANGE_TIMEOUT_S)

    async def remove(self, raft_id: int) -> None:
        """Take a member out."""
        with contextlib.suppress(errors.NotFound):
            await self._node.remove_member(raft_id, CHANGE_TIMEOUT_S)

    async def readdress(self, raft_id: int, address: str) -> None:
        """Change where a member listens."""
        await self._node.readdress(raft_id, address, CHANGE_TIMEOUT_S)

    async def hand_over(self, raft_id: int) -> None:
        """Transfer the leadership."""
        await self._node.transfer_leadership(raft_id, CHANGE_TIMEOUT_S)

    # Leadership.

    def _tell(self, leadership: Leadership, supervisor: Supervisor) -> None:
        now = self._node.leadership()
        if now.removed:
            self.removed.set()
        member = self._node.members.member(now.leader_id)
        leader = NodePlace(node_id=member.node_id, address=member.address) if member is not None else None
        if not self._node.is_leader or now.removed:
            leadership.update(leading=False, leader=None if now.removed else leader)
            return
        if leadership.leading() and leadership.leader() == leader:
            return
        leadership.update(leading=False, leader=leader)
        supervisor.spawn(self._begin(leadership, now.term, leader), "raft-lead", critical=False)

    async def _begin(self, leadership: Leadership, term: int, leader: NodePlace | None) -> None:
        """Lead as soon as everything is applied that was committed before."""
        while self._leads_in(term):
            try:
                await self._node.read_barrier(READ_TIMEOUT_S)
            except errors.Unavailable:
                await asyncio.sleep(BEGIN_RETRY_S)
                continue
            if self._leads_in(term):
                leadership.update(leading=True, leader=leader)
            return

    def _leads_in(self, term: int) -> bool:
        return self._node.is_leader and self._node.term == term


def prepare(identity: IdentityStore, state: MemberState) -> None:
    """Begin raft's files for a member that was just taken in: before its state says that it is one."""
    identity.remove_raft()
    disk = FileDisk(identity.raft_directory)
    try:
        _create(disk, identity, state, alone=False).close()
    finally:
        disk.close()


def _create(disk: FileDisk, identity: IdentityStore, state: MemberState, *, alone: bool) -> Storage:
    """Begin raft's files for a member; `alone` in a swarm of one, else of one that the leader will tell everything."""
    member = Member(id=state.raft_id, node_id=state.node_id, address=state.advertise_address)
    return Storage.create(
        disk,
        KeyRing(identity.data_key()),
        os.urandom,
        Identity(cluster_id=state.cluster_id, member_id=state.raft_id),
        of_voters(member) if alone else None,
    )


def _open(
    disk: FileDisk, identity: IdentityStore, state: MemberState, beginning: Founding | Refounding | None
) -> Storage:
    if isinstance(beginning, Founding):
        return _create(disk, identity, state, alone=True)
    keys = KeyRing(identity.data_key())
    try:
        if isinstance(beginning, Refounding):
            storage = force_new_cluster(disk, keys, os.urandom)
        else:
            storage = Storage.open(disk, keys, os.urandom)
    except errors.NotFound as exc:
        raise _unusable(
            identity, "raft's files are missing: this manager would vote again on what it has voted on"
        ) from exc
    expected = Identity(cluster_id=state.cluster_id, member_id=state.raft_id)
    if storage.identity != expected:
        raise _unusable(identity, f"raft's files are those of {storage.identity}, not of {expected}")
    return storage


def _unusable(identity: IdentityStore, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"cannot use {identity.raft_directory}: {why}. Take this node out of its swarm with"
        " `swarmctl swarm leave --force`, remove it there with `swarmctl node rm --force`, and join again",
        reason="STATE_CORRUPT",
    )
