"""A member of the cluster, for the rest of the manager: propose, read, change the membership, see who leads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, assert_never

from services.kit import errors
from services.kit.tasks import Supervisor
from services.kit.watch import Broadcast, Subscription
from services.swarmd.raft.core import effects, events, membership, safety
from services.swarmd.raft.core.effects import Refusal
from services.swarmd.raft.core.types import NOBODY, Role
from services.swarmd.raft.shell.engine import Engine
from services.swarmd.raft.shell.requests import OUTCOME_UNKNOWN, Applied, Proposals, Reads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from services.kit.seams import Clock, Rng
    from services.swarmd.raft.core.membership import Change, Config, Member
    from services.swarmd.raft.core.messages import Message
    from services.swarmd.raft.core.node import Status
    from services.swarmd.raft.shell.config import RaftConfig
    from services.swarmd.raft.shell.ports import StateMachine, Transport
    from services.swarmd.raft.shell.storage import Storage

LEADERSHIP_BUFFER_MAX: Final = 64
READ_REPEAT_TICKS: Final = 5
"""After how long without an answer a read is asked for again: the question or the answer may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """Who leads, as this member sees it."""

    role: Role
    term: int
    leader_id: int
    """0 if there is none."""
    removed: bool
    """Whether this member was taken out of the cluster, for good."""


class RaftNode:
    """One member of the cluster, running from entering to leaving the `async with` block.

    The block is cancelled, and raises, when the member cannot go on: the disk failed, or something that
    must hold does not. Then the process has to end; a restart finds out what is durable.

    Args:
        config: Settings.
        storage: The member's durable state, just opened or created; the node closes it.
        transport: The way to the others. Started before, and stopped after, by the caller.
        state_machine: What the commands act on; empty at first, the node brings it up to date.
        clock: Paces the ticks.
        rng: Draws election timeouts.
    """

    def __init__(
        self,
        config: RaftConfig,
        storage: Storage,
        transport: Transport,
        state_machine: StateMachine,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._config = config
        self._transport = transport
        self._clock = clock
        self._engine = Engine(config, storage, transport, state_machine, clock, rng, self)
        self._core = self._engine.core
        self._proposals = Proposals()
        self._reads = Reads()
        # Answers to reads may be late: an id must not be one that an earlier life of this member used.
        self._request = rng.randrange(1 << 62)
        self._tick = 0
        self._leaderless_since: int | None = 0
        self._leadership: Broadcast[Leadership] = Broadcast(LEADERSHIP_BUFFER_MAX)
        self._supervisor = Supervisor()
        self._running = False

    async def __aenter__(self) -> Self:
        self._transport.attach(self)
        await self._supervisor.__aenter__()
        self._running = True
        self._engine.start(self._supervisor)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        gone = errors.Unavailable(
            "this manager is stopping", reason="SHUTTING_DOWN", metadata=OUTCOME_UNKNOWN
        )
        self._proposals.fail_all(gone)
        self._reads.fail_all(gone)
        self._leadership.close()
        try:
            await self._supervisor.__aexit__(kind, exc, trace)
        finally:
            await self._engine.stop()

    # ---- what is seen from outside

    @property
    def member_id(self) -> int:
        """The id of this member."""
        return self._core.id

    @property
    def role(self) -> Role:
        """What this member is doing."""
        return self._core.role

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, as far as it knows."""
        return self._core.role is Role.LEADER

    @property
    def leader_id(self) -> int:
        """The id of the leader, 0 if none is known."""
        return self._core.leader

    @property
    def term(self) -> int:
        """The term."""
        return self._core.term

    @property
    def applied_index(self) -> int:
        """How far the log is applied here."""
        return self._engine.applied

    @property
    def members(self) -> Config:
        """The members, as this member's log has them."""
        return self._core.config

    @property
    def late_ticks(self) -> int:
        """How often the event loop, or the machine, stood still for longer than a tick."""
        return self._engine.late_ticks

    def status(self) -> Status:
        """Return a picture of the member and, on a leader, of each follower's progress."""
        return self._core.status()

    def leadership(self) -> Leadership:
        """Return who leads."""
        return Leadership(
            role=self._core.role,
            term=self._core.term,
            leader_id=self._core.leader,
            removed=self._engine.removed,
        )

    def watch_leadership(self) -> Subscription[Leadership]:
        """Return a subscription to the changes of `leadership`. Subscribe first, then read."""
        return self._leadership.subscribe()

    # ---- commands and reads

    async def propose(self, data: bytes, timeout_s: float) -> int:
        """Put a command into the log; return its index once it is committed, and applied here.

        Raises:
            Invalid: It is too large (reason ENTRY_TOO_LARGE).
            Unavailable: By reason. It did not and will not take effect: NO_LEADER, at once; NOT_LEADER, with
                `leader_id`, `leader_node_id` and `leader_address` in the metadata; PROPOSAL_DROPPED, when there is no
                room, the leader is handing over, or another leader's entry took its place. It may or may not take
                effect, and the metadata has `outcome=unknown`: TIMEOUT, LEADERSHIP_LOST, SHUTTING_DOWN.
        """
        return (await self.execute(data, timeout_s)).index

    async def execute(self, data: bytes, timeout_s: float) -> Applied:
        """Do as `propose`; return what the state machine said to the command as well."""
        if len(data) > self._config.entry_bytes_max:
            raise errors.Invalid(
                f"a change of {len(data)} bytes is larger than {self._config.entry_bytes_max}, the most that the "
                "managers agree on at once",
                reason="ENTRY_TOO_LARGE",
            )
        self._require_leader()
        if len(self._proposals) >= self._config.proposals_max:
            raise _dropped("too many changes wait to be agreed on")
        request_id = self._new_request()
        future = self._proposals.open(request_id)
        self._engine.inbox.propose(events.Proposal(request_id=request_id, data=data))
        return await self._settled(request_id, future, timeout_s)

    async def read_barrier(self, timeout_s: float = 5.0) -> int:
        """Return once everything that was committed when this was called is applied here, on any member.

        What is read from the state machine after it is linearizable. Costs the leader one round of
        heartbeats, which all reads of the moment share.

        Raises:
            Unavailable: NO_LEADER, at once; TIMEOUT; PROPOSAL_DROPPED when too many reads wait; SHUTTING_DOWN.
        """
        if self._core.leader == NOBODY or not self._running:
            raise self._no_leader()
        if len(self._reads) >= self._config.reads_max:
            raise _dropped("too many reads wait")
        request_id = self._new_request()
        future = self._reads.open(request_id, self._tick)
        try:
            self._engine.inbox.put_certainly(events.ReadIndex(request_id=request_id))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise errors.Unavailable(
                f"no majority of the managers answered within {timeout_s:g} s", reason="TIMEOUT"
            ) from None
        finally:
            self._reads.close(request_id)

    # ---- membership. On the leader; each returns once the change is committed and applied there.

    async def add_member(self, member: Member, timeout_s: float) -> None:
        """Add a member, without a vote; see `promote`.

        Raises:
            AlreadyExists: It is a member (MEMBER_EXISTS), or its id was one's that was removed (MEMBER_REMOVED).
            Unavailable: As `propose`.
        """
        await self._change(membership.AddLearner(member=member), timeout_s)

    async def promote(self, member_id: int, timeout_s: float) -> None:
        """Give a member its vote, as soon as it has caught up with the log.

        Raises:
            NotFound: There is no such member.
            FailedPrecondition: It votes already (ALREADY_VOTER), or does not catch up in time (NOT_CAUGHT_UP).
            Unavailable: As `propose`.
        """
        deadline = self._clock.monotonic() + timeout_s
        while True:
            self._require_leader()
            if safety.caught_up(
                self.status(), member_id, self._config.caught_up_entries_max, self._silent_max
            ):
                break
            await self._pause(
                deadline,
                errors.FailedPrecondition(
                    f"manager {member_id:x} has not caught up with the log after {timeout_s:g} s",
                    reason="NOT_CAUGHT_UP",
                ),
            )
        await self._change(membership.Promote(member_id=member_id), deadline - self._clock.monotonic())

    async def demote(self, member_id: int, timeout_s: float) -> None:
        """Take a member's vote; it goes on receiving the log.

        Raises:
            NotFound: There is no such member.
            FailedPrecondition: It does not vote (ALREADY_LEARNER), is the last who does (LAST_VOTER), or too few
                would be left that answer (QUORUM_LOSS).
            Unavailable: As `propose`.
        """
        self._require_leader()
        safety.refuse_quorum_loss(self.status(), member_id, self._silent_max)
        await self._change(membership.Demote(member_id=member_id), timeout_s)

    async def remove_member(self, member_id: int, timeout_s: float) -> None:
        """Take a member out, for good: it cannot come back under this id. A leader may remove itself.

        Raises:
            NotFound: There is no such member.
            FailedPrecondition: It is the last voter (LAST_VOTER), or too few would be left that answer (QUORUM_LOSS).
            Unavailable: As `propose`.
        """
        self._require_leader()
        safety.refuse_quorum_loss(self.status(), member_id, self._silent_max)
        await self._change(membership.Remove(member_id=member_id), timeout_s)

    async def readdress(self, member_id: int, address: str, timeout_s: float) -> None:
        """Tell everybody where a member listens from now on.

        Raises:
            NotFound: There is no such member.
            Unavailable: As `propose`.
        """
        await self._change(membership.Readdress(member_id=member_id, address=address), timeout_s)

    async def transfer_leadership(self, to: int | None = None, timeout_s: float = 5.0) -> int:
        """Hand the leadership to a voter, by default to the one that has most of the log; return the new leader.

        Raises:
            FailedPrecondition: It is not a voter, or there is no other (NO_SUCCESSOR).
            Unavailable: As `propose`; TRANSFER_FAILED if it does not take over in time.
        """
        self._require_leader()
        successor = safety.best_successor(self.status()) if to is None else to
        if successor == self._core.id:
            return successor
        if successor not in self._core.config.voters:
            raise errors.FailedPrecondition(
                "there is no other manager to hand over to"
                if successor is None
                else f"manager {successor:x} has no vote and cannot lead",
                reason="NO_SUCCESSOR",
            )
        term = self._core.term
        try:
            async with self.watch_leadership() as changes, asyncio.timeout(timeout_s):
                self._engine.inbox.put_certainly(events.TransferLeadership(to=successor))
                async for _ in changes:
                    if self._core.term > term and self._core.leader not in (NOBODY, self._core.id):
                        return self._core.leader
        except TimeoutError:
            raise errors.Unavailable(
                f"manager {successor:x} did not take over within {timeout_s:g} s", reason="TRANSFER_FAILED"
            ) from None
        raise self._stopping()

    # ---- for the transport

    def receive(self, messages: Sequence[Message]) -> None:
        """Take messages from other members; see `ports.Receiver`."""
        for message in messages:
            self._engine.inbox.put(events.Received(message=message))

    def unreachable(self, member_id: int) -> None:
        """Hear that messages to a member were lost; see `ports.Receiver`."""
        self._engine.inbox.put(events.Unreachable(to=member_id))

    def removed(self) -> None:
        """Hear from another member that this one was taken out; see `ports.Receiver`."""
        self._engine.note_removed()

    def member(self, member_id: int) -> Member | None:
        """Return what is known of a member; see `ports.Receiver`."""
        return self._core.config.member(member_id)

    def was_removed(self, member_id: int) -> bool:
        """Tell whether a member was taken out; see `ports.Receiver`."""
        log = self._core.log
        return member_id in log.config.removed and log.config_index <= log.commit

    # ---- for the engine

    def answered(self, answer: effects.Accepted | effects.Refused | effects.ReadReady) -> None:
        """Take the core's answer to a request."""
        match answer:
            case effects.Accepted():
                self._proposals.accepted(answer)
            case effects.Refused():
                error = self._refusal(answer)
                self._proposals.refused(answer.request_id, error)
                if answer.reason not in (Refusal.NOT_LEADER, Refusal.NO_LEADER):
                    self._reads.refused(answer.request_id, error)
                # else the read is asked for again, of the next leader
            case effects.ReadReady(request_id=request_id, index=index):
                self._reads.ready(request_id, index, self._engine.applied)

    def applied(self, index: int, term: int, result: object) -> None:
        """Hear that an entry was applied."""
        self._proposals.applied(index, term, result)
        self._reads.applied(index)

    def overtaken(self, index: int) -> None:
        """Hear that a snapshot took the place of entries."""
        self._proposals.overtaken(index)
        self._reads.applied(index)

    def ticked(self, tick: int) -> None:
        """Repeat reads that got no answer; give up on proposals whose leader does not come back."""
        self._tick = tick
        if self._core.leader != NOBODY:
            for request_id in self._reads.overdue(tick - READ_REPEAT_TICKS, tick):
                self._engine.inbox.put_certainly(events.ReadIndex(request_id=request_id))
        elif self._leaderless_since is None:
            self._leaderless_since = tick
        elif tick - self._leaderless_since >= self._config.settings.election_ticks_max:
            self._proposals.abandon()
            self._reads.fail_all(self._no_leader())
        if self._core.leader != NOBODY:
            self._leaderless_since = None

    def role_changed(self) -> None:
        """Tell those who watch."""
        self._leadership.publish(self.leadership())

    # ---- inside

    @property
    def _silent_max(self) -> int:
        """After how many ticks of silence a member counts as away."""
        return self._config.settings.election_ticks_min

    def _new_request(self) -> int:
        self._request += 1
        return self._request

    async def _settled(self, request_id: int, future: asyncio.Future[Applied], timeout_s: float) -> Applied:
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                return await future
        except TimeoutError:
            raise errors.Unavailable(
                f"no majority of the managers agreed within {timeout_s:g} s; the change may or may not take effect",
                reason="TIMEOUT",
                metadata=OUTCOME_UNKNOWN,
            ) from None
        finally:
            self._proposals.close(request_id)

    async def _change(self, change: Change, timeout_s: float) -> None:
        """Make a change of the membership; wait for one that is under way to end before."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            self._require_leader()
            request_id = self._new_request()
            future = self._proposals.open(request_id)
            self._engine.inbox.put_certainly(events.ChangeMembers(request_id=request_id, change=change))
            try:
                await self._settled(request_id, future, deadline - self._clock.monotonic())
                return
            except errors.Unavailable as error:
                if error.reason != Refusal.CHANGE_IN_PROGRESS.value:
                    raise
                await self._pause(deadline, error)

    async def _pause(self, deadline: float, error: errors.BeeyardError) -> None:
        """Wait for a tick, or raise `error` if the time is up."""
        if self._clock.monotonic() >= deadline:
            raise error
        await self._clock.sleep(self._config.tick_ms / 1000)

    def _require_leader(self) -> None:
        """Raise at once if this member does not lead."""
        if not self._running:
            raise self._stopping()
        if self._core.leader == NOBODY:
            raise self._no_leader()
        if self._core.role is not Role.LEADER:
            raise self._not_leader(self._core.leader)

    def _refusal(self, refused: effects.Refused) -> errors.BeeyardError:
        match refused.reason:
            case Refusal.NO_LEADER:
                return self._no_leader()
            case Refusal.NOT_LEADER:
                return self._not_leader(refused.leader)
            case Refusal.TRANSFERRING:
                return _dropped("the leader is handing over")
            case Refusal.TOO_MUCH_UNCOMMITTED:
                return _dropped("too much waits to be agreed on")
            case Refusal.TOO_MANY_READS:
                return _dropped("too many reads wait")
            case Refusal.CHANGE_IN_PROGRESS:
                return errors.Unavailable(
                    "another change of the managers is under way", reason=refused.reason.value
                )
            case Refusal.INVALID_CHANGE:
                assert isinstance(refused.cause, errors.BeeyardError), f"refused because of {refused.cause!r}"
                return refused.cause
            case _:
                assert_never(refused.reason)

    def _no_leader(self) -> errors.Unavailable:
        if not self._running:
            return self._stopping()
        return errors.Unavailable(
            "the swarm has no leader: perhaps too few managers are up, as more than half of them must be; or they are "
            "just electing one",
            reason="NO_LEADER",
        )

    def _not_leader(self, leader: int) -> errors.Unavailable:
        if leader == NOBODY:
            return self._no_leader()
        member = self._core.config.member(leader)
        return errors.Unavailable(
            f"this manager does not lead; {leader:x} does",
            reason="NOT_LEADER",
            metadata={
                "leader_id": str(leader),
                "leader_node_id": member.node_id if member else "",
                "leader_address": member.address if member else "",
            },
        )

    def _stopping(self) -> errors.Unavailable:
        return errors.Unavailable("this manager is stopping", reason="SHUTTING_DOWN")


def _dropped(why: str) -> errors.Unavailable:
    return errors.Unavailable(f"{why}; try again", reason="PROPOSAL_DROPPED")
