"""What must hold in every moment of every run, checked from outside: by what members send, store, and apply.

Nothing here asks a member whether it is right; each checker keeps a record of its own and compares. Named after figure
3.2 of the dissertation where they are in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.swarmd.raft.core import effects, messages
from services.swarmd.raft.core.membership import Config
from services.swarmd.raft.core.types import Entry, HardState, Role, SnapshotMeta

if TYPE_CHECKING:
    from tests.sim.raft.member import Member


class Violation(AssertionError):
    """Something that must never happen did."""


def _require(holds: bool, rule: str, what: str) -> None:
    if not holds:
        raise Violation(f"{rule}: {what}")


def _content(entry: Entry) -> bytes:
    return hashlib.blake2b(repr((entry.kind, entry.data, entry.config)).encode(), digest_size=8).digest()


class _Disk:
    """What one member's disk must hold, by what was reported as durable."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.terms: dict[int, int] = {}
        self.last = 0


class Checkers:
    """All checkers of one run."""

    def __init__(self) -> None:
        self._leaders: dict[int, int] = {}  # term -> member
        self._votes: dict[tuple[int, int], int] = {}  # (member, term) -> candidate
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}  # (index, term) -> content, term before
        self._committed: dict[int, tuple[int, bytes]] = {}  # index -> term, content
        self._configs: dict[int, Config] = {}  # index -> committed configuration
        self._fingerprints: dict[int, str] = {}  # index -> the state machine's, once anybody was there
        self._disks: dict[int, _Disk] = {}
        self._leading: dict[int, tuple[int, int, int]] = {}  # member -> incarnation, term, last index
        self._seen: dict[int, tuple[int, int, int]] = {}  # member -> incarnation, term, commit
        self.commits = 0
        self.elections = 0
        self.snapshots_installed = 0

    # ---- called by members

    def started(self, member: Member) -> None:
        """Compare what a member recovered with what its disk promised to hold."""
        recovered = member.storage.recovered
        disk = self._disks.setdefault(member.id, _Disk())
        found = recovered.hard_state
        promised = disk.hard_state
        _require(
            found.term >= promised.term, "durable state", f"{member.id} forgot term {promised.term}: {found}"
        )
        if found.term == promised.term and promised.vote:
            _require(found.vote == promised.vote, "durable state", f"{member.id} forgot its vote: {found}")
        terms = {entry.index: entry.term for entry in recovered.entries}
        if found.term == promised.term:
            for index, term in disk.terms.items():
                if index > recovered.snapshot.index:
                    _require(
                        terms.get(index) == term or self._overwritten(terms, index, term),
                        "durable state",
                        f"{member.id} lost entry {index} of term {term}",
                    )
        disk.terms = terms
        disk.last = recovered.entries[-1].index if recovered.entries else recovered.snapshot.index
        disk.hard_state = found
        for entry in recovered.entries:
            self._log_matching(entry, self._term_before(recovered.entries, recovered.snapshot, entry))
        self._fingerprint(member, recovered.snapshot.index)

    def durable(self, member: Member, persists: Sequence[effects.Persist]) -> None:
        """Note what a member's disk holds from now on."""
        disk = self._disks[member.id]
        for persist in persists:
            disk.hard_state = persist.hard_state
            if persist.snapshot is not None:
                meta = persist.snapshot.meta
                if disk.terms.get(meta.index) != meta.term:
                    disk.terms.clear()
                disk.terms[meta.index] = meta.term
                disk.last = max(meta.index, *disk.terms)
            for entry in persist.entries:
                disk.terms[entry.index] = entry.term
            if persist.entries:
                last = persist.entries[-1].index
                for index in range(last + 1, disk.last + 1):
                    disk.terms.pop(index, None)
                disk.last = last

    def stepped(self, member: Member, done: Sequence[effects.Effect]) -> None:
        """Check a member after each event."""
        core = member.core
        log = core.log
        for effect in done:
            if isinstance(effect, effects.Persist):
                for entry in effect.entries:
                    before = log.term_at(entry.index - 1)
                    if before is not None:
                        self._log_matching(entry, before)
            elif isinstance(effect, effects.RoleChanged) and effect.role is Role.LEADER:
                self._elected(member)
        incarnation, term, commit = self._seen.get(member.id, (0, 0, 0))
        if incarnation == member.incarnation:
            self._one_change_at_a_time(member, done, commit)
            _require(core.term >= term, "terms grow", f"{member.id} went from term {term} to {core.term}")
            _require(log.commit >= commit, "commits grow", f"{member.id} went from {commit} to {log.commit}")
        self._seen[member.id] = (member.incarnation, core.term, log.commit)
        if core.role is Role.LEADER:
            self._leader_append_only(member)
            if incarnation == member.incarnation and log.commit > commit:
                self._leader_commits(member)
        else:
            self._leading.pop(member.id, None)

    def sent(self, member: Member, message: messages.Message) -> None:
        """Check a message at the moment in which it leaves."""
        match message:
            case messages.VoteResponse(granted=True, pre=False):
                self._voted(member.id, message.term, message.to)
            case messages.VoteRequest(pre=False):
                self._voted(member.id, message.term, member.id)
            case messages.AppendResponse(rejected=False):
                last = self._disks[member.id].last
                _require(
                    message.index <= last,
                    "durable before acknowledged",
                    f"{member.id} acknowledges {message.index} and has {last} on its disk",
                )
            case _:
                pass

    def applying(self, member: Member, entries: Sequence[Entry]) -> None:
        """Check entries that a member is about to apply: state machine safety."""
        for entry in entries:
            self._commit(entry, member)

    def restored(self, member: Member, meta: SnapshotMeta) -> None:
        """Check a member after a snapshot took the place of its state."""
        self.snapshots_installed += 1
        committed = self._committed.get(meta.index)
        _require(
            committed is not None and committed[0] == meta.term,
            "state machine safety",
            f"{member.id} restored {meta.index} of term {meta.term}, committed is {committed}",
        )
        self._fingerprint(member, meta.index)

    def read_served(self, member: Member, index: int, committed_before: int) -> None:
        """Check that a read sees what was committed when it was asked for."""
        _require(
            index >= committed_before,
            "reads are fresh",
            f"{member.id} serves a read from {index} on, asked for when {committed_before} was committed",
        )

    def compare(self, member: Member) -> None:
        """Compare a member's state machine with that of all who ever applied as much."""
        self._fingerprint(member, member.applied)

    def committed_index(self) -> int:
        """Return the highest committed index."""
        return self.commits

    # ---- the rules

    def _elected(self, member: Member) -> None:
        self.elections += 1
        core = member.core
        other = self._leaders.setdefault(core.term, member.id)
        _require(other == member.id, "election safety", f"{other} and {member.id} lead term {core.term}")
        for index, (term, _) in self._committed.items():
            if index >= core.log.first_index and term < core.term:
                _require(
                    core.log.term_at(index) == term,
                    "leader completeness",
                    f"{member.id} leads term {core.term} with {core.log.term_at(index)} at {index}, "
                    f"where {term} is committed",
                )

    def _voted(self, voter: int, term: int, candidate: int) -> None:
        before = self._votes.setdefault((voter, term), candidate)
        _require(
            before == candidate,
            "one vote a term",
            f"{voter} votes for {before} and {candidate} in term {term}",
        )

    def _one_change_at_a_time(self, member: Member, done: Sequence[effects.Effect], commit: int) -> None:
        """A leader that changes the members knows all that was committed, and every change before it is."""
        core = member.core
        if core.role is not Role.LEADER:
            return
        for effect in done:
            for entry in effect.entries if isinstance(effect, effects.Persist) else ():
                if entry.config is not None and entry.term == core.term:
                    open_changes = [
                        other.index
                        for other in core.log.between(commit + 1, entry.index - 1)
                        if other.config is not None
                    ]
                    _require(
                        not open_changes and core.log.term_at(commit) == core.term,
                        "one change at a time",
                        f"{member.id} changes the members at {entry.index}, with {commit} committed and changes at "
                        f"{open_changes}",
                    )

    def _log_matching(self, entry: Entry, before: int) -> None:
        """Two entries of one index and term are the same, and so are those before them, and so on."""
        known = self._entries.setdefault((entry.index, entry.term), (_content(entry), before))
        _require(
            known == (_content(entry), before),
            "log matching",
            f"entry {entry.index} of term {entry.term} is not the same everywhere",
        )

    def _leader_append_only(self, member: Member) -> None:
        log = member.core.log
        incarnation, term, last = self._leading.get(member.id, (0, 0, 0))
        if (incarnation, term) == (member.incarnation, member.core.term):
            _require(log.last_index >= last, "leader append-only", f"{member.id} cut off its log at {last}")
        self._leading[member.id] = (member.incarnation, member.core.term, log.last_index)

    def _leader_commits(self, member: Member) -> None:
        """What a leader commits is on the disks of a quorum, and nothing else was ever committed there."""
        log = member.core.log
        first = max(log.first_index, self.committed_index() + 1)
        for entry in log.between(first, log.commit) if first <= log.commit else ():
            self._commit(entry, member)
        if log.commit < log.first_index:
            return
        term = log.term_at(log.commit)
        _require(
            term == member.core.term,
            "commits of the own term",
            f"{member.id} leads term {member.core.term} and commits up to {log.commit}, of term {term}",
        )
        config = log.config
        for half in (config.voters, config.outgoing):
            holders = [voter for voter in half if self._holds(voter, log.commit, term)]
            _require(
                2 * len(holders) > len(half) or not half,
                "commit needs a durable quorum",
                f"{member.id} commits {log.commit} of term {term}, which only {holders} of {half} hold",
            )

    def _holds(self, voter: int, index: int, term: int | None) -> bool:
        disk = self._disks.get(voter)
        if disk is None:
            return False
        return disk.terms.get(index) == term

    def _commit(self, entry: Entry, member: Member) -> None:
        known = self._committed.setdefault(entry.index, (entry.term, _content(entry)))
        if known is not None:
            _require(
                known == (entry.term, _content(entry)),
                "state machine safety",
                f"{member.id} commits term {entry.term} at {entry.index}, where term {known[0]} is committed",
            )
        self.commits = max(self.commits, entry.index)
        if entry.config is not None and entry.index not in self._configs:
            self._configs[entry.index] = entry.config
            before = max((index for index in self._configs if index < entry.index), default=None)
            if before is not None:
                changed = set(self._configs[before].voters) ^ set(entry.config.voters)
                _require(len(changed) <= 1, "one voter at a time", f"entry {entry.index} changes {changed}")

    def _fingerprint(self, member: Member, index: int) -> None:
        mine = member.machine.fingerprint
        known = self._fingerprints.setdefault(index, mine)
        _require(known == mine, "state machine safety", f"{member.id} differs from others after {index}")

    @staticmethod
    def _overwritten(terms: dict[int, int], index: int, term: int) -> bool:
        """Whether a later write, which was under way when the member died, took the entry's place."""
        newer = [own for at, own in terms.items() if at <= index]
        return bool(newer) and max(newer) > term

    @staticmethod
    def _term_before(entries: Sequence[Entry], snapshot: SnapshotMeta, entry: Entry) -> int:
        at = entry.index - snapshot.index - 2
        return entries[at].term if at >= 0 else snapshot.term
