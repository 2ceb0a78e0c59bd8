"""One member of the consensus: events in, effects out.

    follower --timeout--> pre-candidate --would win--> candidate --wins--> leader
        ^                      |                          |                  |
        +------- a leader, a higher term, a lost election, a lost quorum ----+

Rules:
* **A term only grows, and a vote is only forgotten when it does.** No change of role touches either.
* The vote given to oneself counts like any other only when it is durable; likewise the leader's own
  entries.
* While a leader is heard, elections started by others are not even looked at (the leader's lease, 4.2.3): a
  member that was cut off, or was removed, cannot unseat a leader that the majority hears.
* A leader that does not hear a quorum within an election timeout steps down, so that its callers learn it.
* Only a voter of the configuration in its own log stands for election, or one whose vote ends with a change
  that is not known to be committed. But a vote is given to whoever asks, as the asker may know a newer
  configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from services.kit.errors import BeeyardError
from services.swarmd.raft.core import effects, events, membership, messages
from services.swarmd.raft.core.effects import Refusal
from services.swarmd.raft.core.leader import Leadership
from services.swarmd.raft.core.log import RaftLog
from services.swarmd.raft.core.outbox import Needs, Outbox
from services.swarmd.raft.core.quorum import Verdict, verdict
from services.swarmd.raft.core.types import (
    NOBODY,
    Entry,
    EntryKind,
    HardState,
    Recovered,
    Role,
    Settings,
    SnapshotMeta,
)

if TYPE_CHECKING:
    from services.kit.seams import Rng
    from services.swarmd.raft.core.membership import Config
    from services.swarmd.raft.core.progress import Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """A follower, as the leader sees it."""

    id: int
    match: int
    next: int
    pace: Pace
    silent_ticks: int
    """For how many ticks nothing was heard of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What there is to see of a member from outside."""

    id: int
    role: Role
    term: int
    vote: int
    leader: int
    first_index: int
    last_index: int
    stable: int
    commit: int
    applied: int
    snapshot_index: int
    config: Config
    transferee: int
    peers: tuple[PeerStatus, ...]
    """Only a leader has any."""


class RaftCore:
    """The algorithm of one member.

    Deterministic: the same events and the same `rng` give the same effects. An assertion that fails means
    that the member, or its disk, broke what the others rely on: the process must end.
    """

    def __init__(self, *, own_id: int, recovered: Recovered, settings: Settings, rng: Rng) -> None:
        assert own_id > 0, f"{own_id} is not a member id"
        hard_state = recovered.hard_state
        self.id = own_id
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.log = RaftLog(recovered)
        assert self.log.last_term <= self.term, f"entry of term {self.log.last_term} in term {self.term}"
        self._settings = settings
        self._rng = rng
        self._leadership: Leadership | None = None
        self._votes: dict[int, bool] = {}
        self._campaigns_undecided = 0  # in a row, without a leader
        self._elapsed_ticks = 0  # since the leader was heard, a vote was given, or a campaign began
        self._timeout_ticks = self._random_timeout()
        self._outbox = Outbox(hard_state)
        self._seen_role = (self.role, self.term, self.leader)
        self._seen_config = self.log.config
        self._leaving = own_id in self.log.config.removed  # and nobody was told yet

    # ---- what is seen from outside

    @property
    def config(self) -> Config:
        """The configuration in effect."""
        return self.log.config

    @property
    def commit_unshared(self) -> bool:
        """Whether this is a leader with followers that do not know what they hold to be committed."""
        return self._leadership is not None and self._leadership.commit_unshared

    def status(self) -> Status:
        """Return a picture of the member."""
        leading = self._leadership
        peers = (
            ()
            if leading is None
            else tuple(
                PeerStatus(
                    id=peer,
                    match=progress.match,
                    next=progress.next,
                    pace=progress.pace,
                    silent_ticks=leading.silent_ticks(peer),
                )
                for peer, progress in leading.progress.items()
            )
        )
        return Status(
            id=self.id,
            role=self.role,
            term=self.term,
            vote=self.vote,
            leader=self.leader,
            first_index=self.log.first_index,
            last_index=self.log.last_index,
            stable=self.log.stable,
            commit=self.log.commit,
            applied=self.log.applied,
            snapshot_index=self.log.snapshot.index,
            config=self.log.config,
            transferee=NOBODY if leading is None else leading.transferee,
            peers=peers,
        )

    # ---- the way in

    def step(self, event: events.Event) -> list[effects.Effect]:
        """Take in an event; return what is to be done, in order."""
        match event:
            case events.Received(message=message):
                self._receive(message)
            case events.Tick():
                self._tick()
            case events.Persisted(sequence=sequence):
                self._persisted(sequence)
            case events.Propose(proposals=proposals):
                self._propose(proposals)
            case events.ReadIndex(request_id=request_id):
                self._read_index(request_id)
            case events.ChangeMembers(request_id=request_id, change=change):
                self._change_members(request_id, change)
            case events.TransferLeadership(to=to):
                if self._leadership is not None:
                    self._leadership.transfer_to(to)
            case events.SnapshotTaken(index=index, compact_to=compact_to):
                self._snapshot_taken(index, compact_to)
            case events.SnapshotDelivered(to=to, ok=ok):
                if self._leadership is not None:
                    self._leadership.snapshot_delivered(to, ok=ok)
            case events.Unreachable(to=to):
                if self._leadership is not None:
                    self._leadership.unreachable(to)
            case events.ShareCommit():
                if self._leadership is not None:
                    self._leadership.share_commit()
            case events.Campaign():
                if self.role is not Role.LEADER and self._may_campaign:
                    self._campaign(pre=True)
            case _:
                assert_never(event)
        return self._finish(ticked=isinstance(event, events.Tick))

    def _finish(self, *, ticked: bool) -> list[effects.Effect]:
        """Close the step: what changed, and what may be applied."""
        if self._seen_role != (seen := (self.role, self.term, self.leader)):
            self._seen_role = seen
            self._outbox.add(effects.RoleChanged(role=self.role, term=self.term, leader=self.leader))
        if self._seen_config is not self.log.config:
            self._seen_config = self.log.config
            self._leaving = self.id in self.log.config.removed
            self._outbox.add(effects.ConfigChanged(config=self.log.config))
        restored = self.log.take_restored()
        if restored is not None:
            self._outbox.add(effects.Restore(snapshot=restored))
        committed = self.log.take_committed()
        if committed:
            self._outbox.add(effects.Apply(entries=committed))
        if self._leaving and self.log.config_index <= self.log.commit:
            self._leaving = False
            self._outbox.add(effects.Removed())
        hard_state = HardState(term=self.term, vote=self.vote, commit=self.log.commit)
        return self._outbox.take(hard_state, self.log, also_commit=ticked)

    # ---- time

    def _tick(self) -> None:
        if self._leadership is not None:
            if not self._leadership.tick():
                self._become_follower(self.term, NOBODY)
            return
        self._elapsed_ticks += 1
        if self._elapsed_ticks < self._timeout_ticks:
            return
        if self._may_campaign:
            self._campaigns_undecided += self.role is not Role.FOLLOWER
            self._campaign(pre=True)
        else:
            self.leader = NOBODY

    @property
    def _may_campaign(self) -> bool:
        """Whether this member is a voter, or was one before a change that is not known to be committed.

        Such a change may be in no other log: then nobody else can win against the longer log here, and only
        this member can complete the change that ends its own vote (4.2.2).
        """
        log = self.log
        if log.restoring is not None:
            return False
        if log.config.is_voter(self.id):
            return True
        return log.config_index > log.commit and log.config_at(log.config_index - 1).is_voter(self.id)

    def _random_timeout(self) -> int:
        return self._rng.randrange(self._settings.election_ticks_min, self._settings.election_ticks_max)

    def _random_retry(self) -> int:
        """Return when a campaign that nobody decided is repeated: soon at first, as the leader seems to be gone."""
        longest = min(self._settings.election_ticks_max, 4 << min(self._campaigns_undecided, 16))
        return self._rng.randrange(max(2, longest // 2), longest + 1)

    # ---- roles

    def _become_follower(self, term: int, leader: int) -> None:
        assert term >= self.term, f"term {term} is below {self.term}"
        if term > self.term:
            self.term = term
            self.vote = NOBODY
        self.role = Role.FOLLOWER
        self.leader = leader
        if self._leadership is not None:
            for request_id in self._leadership.drop_reads():
                self._refuse(request_id, Refusal.NOT_LEADER)
            self._leadership = None
        self._votes = {}
        self._campaigns_undecided = 0
        self._elapsed_ticks = 0
        self._timeout_ticks = self._random_timeout()

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        """Ask everybody for a vote; with `pre`, only whether there would be one."""
        self.leader = NOBODY
        self._elapsed_ticks = 0
        self._timeout_ticks = self._random_retry()
        if pre:
            self.role = Role.PRE_CANDIDATE
            self._votes = {self.id: True}
        else:
            self.role = Role.CANDIDATE
            self.term += 1
            self.vote = self.id
            self._votes = {}  # the own vote counts once it is durable
        for voter in sorted({*self.config.voters, *self.config.outgoing} - {self.id}):
            self._outbox.send(
                messages.VoteRequest(
                    sender=self.id,
                    to=voter,
                    term=self.term + 1 if pre else self.term,
                    last_index=self.log.last_index,
                    last_term=self.log.last_term,
                    pre=pre,
                    transfer=transfer,
                ),
                Needs.TERM,
            )
        self._count_votes()

    def _count_votes(self) -> None:
        match verdict(self.config, self._votes):
            case Verdict.WON if self.role is Role.PRE_CANDIDATE:
                self._campaign(pre=False)
            case Verdict.WON:
                self._become_leader()
            case Verdict.LOST:
                self._become_follower(self.term, NOBODY)
            case Verdict.PENDING:
                pass

    def _become_leader(self) -> None:
        assert self.role is Role.CANDIDATE, f"{self.role} became leader"
        self.role = Role.LEADER
        self.leader = self.id
        self._leadership = Leadership(
            own_id=self.id, term=self.term, log=self.log, settings=self._settings, emit=self._outbox.add
        )
        self._leadership.append([Entry(self.log.last_index + 1, self.term, EntryKind.NOOP)])

    # ---- messages

    def _receive(self, message: messages.Message) -> None:
        if message.to != self.id:
            return
        if message.term > self.term and not self._meet_higher_term(message):
            return
        if message.term < self.term:
            self._answer_lower_term(message)
            return
        match message:
            case messages.AppendRequest():
                self._follow(message.sender)
                self._append_requested(message)
            case messages.AppendResponse():
                self._append_answered(message)
            case messages.Heartbeat():
                self._follow(message.sender)
                self._heartbeat(message)
            case messages.HeartbeatResponse():
                if self._leadership is not None:
                    self._leadership.heartbeat_answered(message)
            case messages.VoteRequest():
                self._vote_requested(message)
            case messages.VoteResponse():
                self._vote_answered(message)
            case messages.InstallSnapshot():
                self._follow(message.sender)
                self._snapshot_received(message)
            case messages.TimeoutNow():
                if self.role is not Role.LEADER and self._may_campaign:
                    self._campaign(pre=False, transfer=True)
            case messages.ReadRequest():
                if self._leadership is not None:
                    self._leadership.read(message.sender, message.request_id)
            case messages.ReadResponse():
                self._outbox.add(effects.ReadReady(request_id=message.request_id, index=message.index))
            case _:
                assert_never(message)

    def _meet_higher_term(self, message: messages.Message) -> bool:
        """Enter the message's term if it says that the term began; tell whether the message is to be looked at."""
        match message:
            case messages.VoteRequest(transfer=False) if self._in_lease:
                return False
            case messages.VoteRequest(pre=True) | messages.VoteResponse(pre=True, granted=True):
                return True  # of a term that may never begin
            case messages.AppendRequest() | messages.Heartbeat() | messages.InstallSnapshot():
                self._become_follower(message.term, message.sender)
            case _:
                self._become_follower(message.term, NOBODY)
        return True

    @property
    def _in_lease(self) -> bool:
        if self.leader == NOBODY:
            return False
        return self.role is Role.LEADER or self._elapsed_ticks < self._settings.election_ticks_min

    def _answer_lower_term(self, message: messages.Message) -> None:
        """Let a leader or a pre-candidate of an old term know of ours; it could not learn it otherwise.

        Its own elections may not be looked at because of the lease, and pre-votes do not carry a term that
        counts: a member that came back with a higher term than the others would be stuck for ever.
        """
        match message:
            case messages.AppendRequest() | messages.Heartbeat() | messages.InstallSnapshot():
                self._acknowledge(message.sender, 0)
            case messages.VoteRequest(pre=True):
                self._answer_vote(message, granted=False)
            case _:
                pass

    # ---- elections

    def _vote_requested(self, request: messages.VoteRequest) -> None:
        free = self.vote == request.sender or (self.vote == NOBODY and self.leader == NOBODY)
        if request.pre and request.term > self.term:
            free = True  # it asks of a term in which we have not voted
        granted = free and self.log.is_current(request.last_index, request.last_term)
        if granted and not request.pre:
            self.vote = request.sender
            self._elapsed_ticks = 0
        self._answer_vote(request, granted=granted)

    def _answer_vote(self, request: messages.VoteRequest, *, granted: bool) -> None:
        answer = messages.VoteResponse(
            sender=self.id,
            to=request.sender,
            term=request.term if granted else self.term,
            granted=granted,
            pre=request.pre,
        )
        self._outbox.send(answer, Needs.TERM)

    def _vote_answered(self, answer: messages.VoteResponse) -> None:
        if answer.pre:
            asked = self.role is Role.PRE_CANDIDATE
            current = answer.term == (self.term + 1 if answer.granted else self.term)
        else:
            asked = self.role is Role.CANDIDATE
            current = answer.term == self.term
        if asked and current:
            self._votes.setdefault(answer.sender, answer.granted)
            self._count_votes()

    def _persisted(self, sequence: int) -> None:
        self.log.written(sequence)
        if self._leadership is not None:
            self._commit()
        elif (
            self.role is Role.CANDIDATE
            and self.id not in self._votes
            and sequence >= self._outbox.term_sequence
        ):
            self._votes[self.id] = True
            self._count_votes()

    # ---- following

    def _follow(self, leader: int) -> None:
        assert self.role is not Role.LEADER, f"{leader} and {self.id} both lead term {self.term}"
        if self.role is not Role.FOLLOWER or self.leader != leader:
            self._become_follower(self.term, leader)
        self._elapsed_ticks = 0

    def _append_requested(self, request: messages.AppendRequest) -> None:
        log = self.log
        if request.prev_index < log.commit:
            self._acknowledge(request.sender, log.commit)  # late: what is committed agrees with any leader
        elif log.term_at(request.prev_index) == request.prev_term:
            log.splice(request.entries)
            last = request.prev_index + len(request.entries)
            log.commit_to(min(request.commit, last))
            self._acknowledge(request.sender, last)
        else:
            hint_index, hint_term = log.agreement_hint(request.prev_index, request.prev_term)
            self._outbox.send(
                messages.AppendResponse(
                    sender=self.id,
                    to=request.sender,
                    term=self.term,
                    index=request.prev_index,
                    rejected=True,
                    hint_index=hint_index,
                    hint_term=hint_term,
                ),
                Needs.LOG,
            )

    def _heartbeat(self, heartbeat: messages.Heartbeat) -> None:
        assert heartbeat.commit <= self.log.last_index, (
            f"the leader knows {heartbeat.commit} entries to be durable on member {self.id:x}, which has "
            f"{self.log.last_index}: its disk lost what it acknowledged; remove the member and join it anew"
        )
        self.log.commit_to(heartbeat.commit)
        answer = messages.HeartbeatResponse(
            sender=self.id, to=heartbeat.sender, term=self.term, read_round=heartbeat.read_round
        )
        self._outbox.send(answer, Needs.TERM)

    def _snapshot_received(self, message: messages.InstallSnapshot) -> None:
        meta = message.snapshot.meta
        if meta.index > self.log.commit:
            if self.log.term_at(meta.index) == meta.term:
                self.log.commit_to(meta.index)  # all of it is here already
            else:
                self.log.restore(message.snapshot)
        self._acknowledge(message.sender, self.log.commit)

    def _acknowledge(self, leader: int, index: int) -> None:
        answer = messages.AppendResponse(sender=self.id, to=leader, term=self.term, index=index)
        self._outbox.send(answer, Needs.LOG)

    # ---- leading

    def _append_answered(self, answer: messages.AppendResponse) -> None:
        leadership = self._leadership
        if leadership is None:
            return
        if leadership.append_answered(answer):
            self._commit()
            if self._leadership is None:
                return  # the commit took it out of office
            leadership.hand_over_if_ready(answer.sender)
        leadership.catch_up(answer.sender)

    def _commit(self) -> None:
        """Commit what has its quorum; step down if that takes this leader out of the voters."""
        leadership = self._leadership
        if leadership is not None and leadership.advance_commit() and leadership.out_of_office:
            leadership.share_commit()
            leadership.appoint_successor()
            self._become_follower(self.term, NOBODY)

    def _propose(self, proposals: tuple[events.Proposal, ...]) -> None:
        leadership = self._leadership
        refusal = self._not_serving()
        entries: list[Entry] = []
        size_bytes = 0
        for proposal in proposals:
            entry = Entry(self.log.last_index + 1 + len(entries), self.term, EntryKind.COMMAND, proposal.data)
            if leadership is None or refusal is not None:
                self._refuse(proposal.request_id, refusal or Refusal.NO_LEADER)
            elif not leadership.has_room_for(entry.size_bytes, beside_bytes=size_bytes):
                self._refuse(proposal.request_id, Refusal.TOO_MUCH_UNCOMMITTED)
            else:
                size_bytes += entry.size_bytes
                entries.append(entry)
                self._accept(proposal.request_id, entry)
        if leadership is not None and entries:
            leadership.append(entries)

    def _change_members(self, request_id: int, change: membership.Change) -> None:
        leadership = self._leadership
        refusal = self._not_serving()
        if leadership is None or refusal is not None:
            self._refuse(request_id, refusal or Refusal.NO_LEADER)
            return
        if not leadership.change_allowed:
            self._refuse(request_id, Refusal.CHANGE_IN_PROGRESS)
            return
        try:
            config = membership.apply_change(self.config, change)
        except BeeyardError as error:
            self._refuse(request_id, Refusal.INVALID_CHANGE, error)
            return
        entry = Entry(self.log.last_index + 1, self.term, EntryKind.CONFIG, config=config)
        self._accept(request_id, entry)
        leadership.append([entry])
        self._commit()  # a smaller quorum may hold more

    def _read_index(self, request_id: int) -> None:
        if self._leadership is not None:
            if not self._leadership.read(self.id, request_id):
                self._refuse(request_id, Refusal.TOO_MANY_READS)
        elif self.leader != NOBODY:
            ask = messages.ReadRequest(sender=self.id, to=self.leader, term=self.term, request_id=request_id)
            self._outbox.send(ask, Needs.TERM)
        else:
            self._refuse(request_id, Refusal.NO_LEADER)

    def _snapshot_taken(self, index: int, compact_to: int) -> None:
        if index <= self.log.snapshot.index:
            return
        term = self.log.term_at(index)
        assert term is not None, f"a snapshot at {index}, which is not in the log"
        self.log.compact(SnapshotMeta(index=index, term=term, config=self.log.config_at(index)), compact_to)

    def _not_serving(self) -> Refusal | None:
        """Return why no request can be taken up now; None on a leader that is not about to go."""
        if self._leadership is None:
            return Refusal.NO_LEADER if self.leader == NOBODY else Refusal.NOT_LEADER
        return Refusal.TRANSFERRING if self._leadership.transferee != NOBODY else None

    def _accept(self, request_id: int, entry: Entry) -> None:
        self._outbox.add(effects.Accepted(request_id=request_id, index=entry.index, term=entry.term))

    def _refuse(self, request_id: int, reason: Refusal, cause: Exception | None = None) -> None:
        self._outbox.add(
            effects.Refused(request_id=request_id, reason=reason, leader=self.leader, cause=cause)
        )
