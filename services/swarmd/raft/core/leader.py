"""What only a leader has and does: replication, commits, confirmed reads, the check of its quorum, the hand-over.

One `Leadership` lives for one term led, and is dropped as a whole on stepping down, so that nothing of it
can leak into a later term. Everything it sends may leave at once: the term is durable since the election,
and entries may overtake the leader's own disk because it counts itself only as far as its log is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.swarmd.raft.core import effects, messages
from services.swarmd.raft.core.progress import Inflights, Pace, Progress
from services.swarmd.raft.core.quorum import agreed_index, has_quorum
from services.swarmd.raft.core.reads import Read, ReadRounds
from services.swarmd.raft.core.types import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.swarmd.raft.core.log import RaftLog
    from services.swarmd.raft.core.types import Entry, Settings


class Leadership:
    """One term of one leader."""

    def __init__(
        self,
        *,
        own_id: int,
        term: int,
        log: RaftLog,
        settings: Settings,
        emit: Callable[[effects.Effect], None],
    ) -> None:
        self._id = own_id
        self._term = term
        self._log = log
        self._settings = settings
        self._emit = emit
        self._ticks = 0
        self._quorum_checked_tick = 0
        self._transfer_tick = 0
        self._uncommitted_bytes = 0
        self._reads = ReadRounds()
        self._early_reads: list[
            tuple[int, int]
        ] = []  # (asker, request id): asked before the term's first commit
        self._departing: dict[int, int] = {}  # id -> the tick after which it is no longer told
        self.transferee = NOBODY
        self.progress: dict[int, Progress] = {}
        """Every other member, and for a while those that were removed, so that they learn it."""
        self._follow_config(log.last_index + 1)

    # ---- the log

    def append(self, entries: Sequence[Entry]) -> None:
        """Append to the own log and send to everybody."""
        self._log.append(entries)
        self._uncommitted_bytes += sum(entry.size_bytes for entry in entries)
        if any(entry.config is not None for entry in entries):
            self._follow_config(entries[0].index)  # what a new member learns first is that it is one
        self.replicate()

    def has_room_for(self, size_bytes: int, *, beside_bytes: int) -> bool:
        """Tell whether an entry may be appended beside others of this step; a single one may be, whatever its size."""
        waiting = self._uncommitted_bytes + beside_bytes
        return waiting == 0 or waiting + size_bytes <= self._settings.uncommitted_bytes_max

    @property
    def committed_in_term(self) -> bool:
        """Whether an entry of this term is committed, and so all that was committed ever is known to be."""
        return self._log.term_at(self._log.commit) == self._term

    @property
    def change_allowed(self) -> bool:
        """Whether the configuration may be changed: one change at a time, and none before the term's first commit.

        The second half closes the hole in the one-at-a-time rule that was found after the dissertation.
        """
        return self.committed_in_term and self._log.config_index <= self._log.commit

    def advance_commit(self) -> bool:
        """Commit what a quorum holds; tell whether that was news.

        Only an entry of the own term is committed by counting; those before it follow (3.6.2, figure 3.7).
        """
        index = agreed_index(self._log.config, self._held_by)
        if index <= self._log.commit or self._log.term_at(index) != self._term:
            return False
        committed = self._log.between(self._log.commit + 1, index)
        self._uncommitted_bytes = max(0, self._uncommitted_bytes - sum(e.size_bytes for e in committed))
        self._log.commit_to(index)
        for asker, request_id in self._early_reads:
            self._reads.add(Read(asker=asker, request_id=request_id, index=index))
        self._early_reads.clear()
        self._begin_reads()
        return True

    @property
    def commit_unshared(self) -> bool:
        """Whether `share_commit` would tell anybody anything."""
        commit = self._log.commit
        return any(progress.commit_sent < min(commit, progress.match) for progress in self.progress.values())

    def share_commit(self) -> None:
        """Tell those followers of the commit position that were not told yet.

        Not done on each commit: the next entries or heartbeats tell them as well, and under load there is no end of
        those. The shell asks for it when things have calmed down.
        """
        for follower, progress in self.progress.items():
            if progress.commit_sent < min(self._log.commit, progress.match):
                self._send_append(follower, also_empty=True)

    def _held_by(self, member: int) -> int:
        return self._log.stable if member == self._id else self.progress[member].match

    # ---- followers

    def replicate(self) -> None:
        """Send to every follower what it may be sent."""
        for follower in self.progress:
            self._send_append(follower, also_empty=False)

    def append_answered(self, answer: messages.AppendResponse) -> bool:
        """Take in an answer to an append or a snapshot; tell whether the follower holds more than was known."""
        progress = self.progress.get(answer.sender)
        if progress is None:
            return False
        self._heard(progress)
        if answer.rejected:
            self._append_refused(progress, answer)
            return False
        news = progress.accepted(answer.index)
        match progress.pace:
            case Pace.PROBE:
                if news or answer.index == progress.match:
                    progress.replicate()
            case Pace.SNAPSHOT:
                if progress.match + 1 >= self._log.first_index:
                    progress.replicate()
            case Pace.REPLICATE:
                progress.inflights.free_to(answer.index)
                progress.waiting = progress.inflights.full
        return news

    def catch_up(self, follower: int) -> None:
        """Send a follower all that it lacks, as far as it may be sent."""
        while follower in self.progress and self._send_append(follower, also_empty=False):
            pass

    def heartbeat_answered(self, answer: messages.HeartbeatResponse) -> None:
        """Take in an answer to a heartbeat."""
        progress = self.progress.get(answer.sender)
        if progress is None:
            return
        self._heard(progress)
        progress.answered_heartbeat()
        if progress.match < self._log.last_index or progress.pace is Pace.PROBE:
            self._send_append(answer.sender, also_empty=True)
        if answer.read_round > progress.read_round:
            progress.read_round = answer.read_round
            self._confirm_reads()

    def unreachable(self, follower: int) -> None:
        """Take in that messages to a follower were lost: what was sent ahead is in doubt."""
        progress = self.progress.get(follower)
        if progress is not None and progress.pace is Pace.REPLICATE:
            progress.probe()

    def snapshot_delivered(self, follower: int, *, ok: bool) -> None:
        """Take in the fate of a snapshot; after a success its answer says where to go on."""
        progress = self.progress.get(follower)
        if progress is None or progress.pace is not Pace.SNAPSHOT:
            return
        if ok:
            progress.probe()
        else:
            progress.probe_from_match()
        progress.waiting = True  # until its answer, or that to a heartbeat

    def _append_refused(self, progress: Progress, answer: messages.AppendResponse) -> None:
        hint = answer.hint_index
        if answer.hint_term:
            # The follower's terms up to its hint are at most `hint_term`; where ours are above, the two cannot agree.
            hint, _ = self._log.agreement_hint(hint, answer.hint_term)
        if progress.refused(answer.index, hint):
            if progress.pace is Pace.REPLICATE:
                progress.probe()
            self._send_append(answer.sender, also_empty=True)

    def _send_append(self, follower: int, *, also_empty: bool) -> bool:
        """Send the next entries, or the snapshot if they are gone; tell whether anything with content was sent."""
        progress = self.progress[follower]
        if progress.paused:
            return False
        prev_index = progress.next - 1
        prev_term = self._log.term_at(prev_index)
        if prev_term is None:
            return self._send_snapshot(follower, progress)
        entries: tuple[Entry, ...] = ()
        if progress.pace is Pace.PROBE or not progress.inflights.full:
            entries = self._log.batch(progress.next, self._settings.message_bytes_max)
        if not entries and not also_empty:
            return False
        progress.sent(entries)
        progress.commit_sent = self._log.commit
        self._send(
            messages.AppendRequest(
                sender=self._id,
                to=follower,
                term=self._term,
                prev_index=prev_index,
                prev_term=prev_term,
                commit=self._log.commit,
                entries=entries,
            )
        )
        return bool(entries)

    def _send_snapshot(self, follower: int, progress: Progress) -> bool:
        if not progress.heard:
            return False  # not to one that seems to be away: it would only fail, and be large
        assert progress.next < self._log.first_index, f"entry {progress.next} of {follower} is in the log"
        meta = self._log.snapshot
        assert meta.index + 1 >= self._log.first_index, "the log was cut off beyond its snapshot"
        progress.send_snapshot(meta.index)
        self._emit(effects.SendSnapshot(to=follower, term=self._term, meta=meta))
        return False

    def _heard(self, progress: Progress) -> None:
        progress.heard = True
        progress.last_heard_tick = self._ticks

    # ---- time

    def tick(self) -> bool:
        """Let one tick pass; tell whether the leader may go on, which it may not without a quorum of live followers."""
        self._ticks += 1
        self._forget_departed()
        if (
            self.transferee != NOBODY
            and self._ticks - self._transfer_tick >= self._settings.election_ticks_min
        ):
            self.transferee = NOBODY  # it did not take over; serve again
        if self._ticks - self._quorum_checked_tick >= self._settings.election_ticks_min:
            self._quorum_checked_tick = self._ticks
            if not has_quorum(self._log.config, self._is_alive):
                return False
            for progress in self.progress.values():
                progress.heard = False
        if self._ticks % self._settings.heartbeat_ticks == 0:
            self._begin_reads(with_heartbeat=False)
            self._send_heartbeats()
        return True

    def silent_ticks(self, follower: int) -> int:
        """Return for how many ticks nothing was heard of this follower."""
        return self._ticks - self.progress[follower].last_heard_tick

    def _is_alive(self, member: int) -> bool:
        return member == self._id or self.progress[member].heard

    def _send_heartbeats(self) -> None:
        for follower, progress in self.progress.items():
            progress.commit_sent = min(progress.match, self._log.commit)
            self._send(
                messages.Heartbeat(
                    sender=self._id,
                    to=follower,
                    term=self._term,
                    commit=progress.commit_sent,
                    read_round=self._reads.round,
                )
            )

    # ---- reads

    def read(self, asker: int, request_id: int) -> bool:
        """Take up a read; tell whether there was room for it."""
        if len(self._reads) + len(self._early_reads) >= self._settings.reads_max:
            return False
        if self.committed_in_term:
            self._reads.add(Read(asker=asker, request_id=request_id, index=self._log.commit))
            self._begin_reads()
        else:
            self._early_reads.append((asker, request_id))
        return True

    def drop_reads(self) -> list[int]:
        """Return the requests of this member that are not answered, and forget them all."""
        waiting = [(read.asker, read.request_id) for read in self._reads.drop()] + self._early_reads
        self._early_reads = []
        return [request_id for asker, request_id in waiting if asker == self._id]

    def _begin_reads(self, *, with_heartbeat: bool = True) -> None:
        if self._reads.begin():
            if with_heartbeat:
                self._send_heartbeats()
            self._confirm_reads()  # a cluster of one has its quorum already

    def _confirm_reads(self) -> None:
        confirmed = agreed_index(self._log.config, self._confirmed_by)
        for read in self._reads.confirm(confirmed):
            if read.asker == self._id:
                self._emit(effects.ReadReady(request_id=read.request_id, index=read.index))
            else:
                self._send(
                    messages.ReadResponse(
                        sender=self._id,
                        to=read.asker,
                        term=self._term,
                        request_id=read.request_id,
                        index=read.index,
                    )
                )
        self._begin_reads()

    def _confirmed_by(self, member: int) -> int:
        return self._reads.round if member == self._id else self.progress[member].read_round

    # ---- hand-over

    def transfer_to(self, to: int) -> None:
        """Stop taking proposals and hand over to this voter, as soon as it has the whole log (3.10)."""
        if to in (self._id, self.transferee) or to not in self._log.config.voters:
            return
        self.transferee = to
        self._transfer_tick = self._ticks
        if not self.hand_over_if_ready(to):
            self._send_append(to, also_empty=True)

    def hand_over_if_ready(self, follower: int) -> bool:
        """Let the chosen successor stand for election, if this is it and it has the whole log."""
        if follower != self.transferee or self.progress[follower].match != self._log.last_index:
            return False
        self._send(messages.TimeoutNow(sender=self._id, to=follower, term=self._term))
        return True

    def appoint_successor(self) -> None:
        """Let the voter that has most of the log stand for election, as this leader is about to step down."""
        candidates = [voter for voter in self._log.config.voters if voter in self.progress]
        if candidates:
            best = max(candidates, key=lambda voter: (self.progress[voter].match, -voter))
            self._send(messages.TimeoutNow(sender=self._id, to=best, term=self._term))

    # ---- membership

    @property
    def out_of_office(self) -> bool:
        """Whether a committed configuration has this leader no longer among the voters."""
        return self._log.config_index <= self._log.commit and not self._log.config.is_voter(self._id)

    def _follow_config(self, next_index: int) -> None:
        """Follow new members from `next_index` on; keep telling those that left while they may need to learn it."""
        config = self._log.config
        for member in config.members:
            if member.id != self._id and member.id not in self.progress:
                self.progress[member.id] = self._new_progress(next_index)
            self._departing.pop(member.id, None)
        for gone in [known for known in self.progress if known not in config]:
            self._departing.setdefault(gone, self._ticks + 2 * self._settings.election_ticks_max)
        self.progress = dict(sorted(self.progress.items()))
        if self.transferee not in config.voters:
            self.transferee = NOBODY

    def _new_progress(self, next_index: int) -> Progress:
        inflights = Inflights(self._settings.inflight_messages_max, self._settings.inflight_bytes_max)
        progress = Progress(next_index=next_index, inflights=inflights)
        progress.last_heard_tick = self._ticks
        return progress

    def _forget_departed(self) -> None:
        for gone in [gone for gone, until in self._departing.items() if until <= self._ticks]:
            del self._departing[gone], self.progress[gone]

    def _send(self, message: messages.Message) -> None:
        self._emit(effects.Send(message=message))
