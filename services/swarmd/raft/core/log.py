"""The log: what is in it, how far it is durable, committed and applied, and which configuration it puts in effect.

Five positions, each an index, with what always holds between them:

    base <= applied <= commit <= last      applied <= stable <= saved <= last

`base` is where the log was cut off by a snapshot, `saved` is what was handed out to be written, `stable`
what was reported as durable. While a received snapshot is being written (`restoring`), nothing is stable,
and `applied` trails `base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.raft.core.membership import Config
    from services.swarmd.raft.core.types import Entry, Recovered, Snapshot, SnapshotMeta


@dataclass(slots=True)
class _Write:
    """A write under way: once it is durable, so is the log up to `last`, unless that was replaced meanwhile."""

    sequence: int
    last: int


class RaftLog:
    """The log of one member, in memory from the last cut on."""

    __slots__ = (
        "_base_index",
        "_base_term",
        "_configs",
        "_entries",
        "_unsaved_snapshot",
        "_writes",
        "applied",
        "commit",
        "restoring",
        "saved",
        "size_bytes",
        "snapshot",
        "stable",
    )

    def __init__(self, recovered: Recovered) -> None:
        self.snapshot: SnapshotMeta = recovered.snapshot
        """The newest snapshot that is durable here, or being written (`restoring`)."""
        self.restoring: Snapshot | None = None
        self._unsaved_snapshot: Snapshot | None = None
        self._base_index = recovered.snapshot.index
        self._base_term = recovered.snapshot.term
        self._entries: list[Entry] = []
        self._configs: list[tuple[int, Config]] = [(self._base_index, recovered.snapshot.config)]
        self._writes: list[_Write] = []
        self.size_bytes = 0
        """What the entries in memory count for."""
        self._extend(recovered.entries)
        self.applied = self._base_index
        self.commit = max(self._base_index, recovered.hard_state.commit)
        assert self.commit <= self.last_index, (
            f"commit {self.commit} is beyond the last entry {self.last_index}"
        )
        self.saved = self.stable = self.last_index

    # ---- reading

    @property
    def first_index(self) -> int:
        """The lowest index whose entry is in memory, or would be."""
        return self._base_index + 1

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self._base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self._base_term

    @property
    def config(self) -> Config:
        """The configuration in effect: the latest in the log, committed or not."""
        return self._configs[-1][1]

    @property
    def config_index(self) -> int:
        """The index of the entry that put the configuration in effect."""
        return self._configs[-1][0]

    def config_at(self, index: int) -> Config:
        """Return the configuration that the log up to `index` puts in effect; `index` is not below the base."""
        assert index >= self._base_index, f"index {index} is below the base {self._base_index}"
        return next(config for at, config in reversed(self._configs) if at <= index)

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None if the log does not reach there or no longer knows."""
        offset = index - self._base_index - 1
        if 0 <= offset < len(self._entries):
            return self._entries[offset].term
        return self._base_term if offset == -1 else None

    def between(self, first: int, last: int) -> tuple[Entry, ...]:
        """Return the entries from `first` to `last`, both included."""
        assert self._base_index < first, f"entry {first} is below the base {self._base_index}"
        assert last <= self.last_index, f"entry {last} is beyond the last {self.last_index}"
        return tuple(self._entries[first - self._base_index - 1 : last - self._base_index])

    def batch(self, first: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return entries from `first` on that together stay within `bytes_max`; at least one, if there is one."""
        start = first - self._base_index - 1
        assert start >= 0, f"entry {first} is below the base {self._base_index}"
        size = 0
        end = start
        while end < len(self._entries):
            size += self._entries[end].size_bytes
            if size > bytes_max and end > start:
                break
            end += 1
        return tuple(self._entries[start:end])

    def cut_before(self, index: int, entries_max: int, bytes_max: int) -> int:
        """Return up to where to forget the log after a snapshot at `index`, to keep at most that many before it."""
        size = 0
        cut = min(index, self.last_index)
        while cut > self._base_index and index - cut < entries_max:
            size += self._entries[cut - self._base_index - 1].size_bytes
            if size > bytes_max:
                break
            cut -= 1
        return cut

    def is_current(self, last_index: int, last_term: int) -> bool:
        """Tell whether a log ending like this is at least as up to date as ours (3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def agreement_hint(self, index: int, term: int) -> tuple[int, int]:
        """Return the last position up to `index` whose term is at most `term`, with its term (0 if not known).

        Where two logs disagree at `index`, everything in between cannot agree: a log's terms never
        decrease.
        """
        index = min(index, self.last_index)
        while (own := self.term_at(index)) is not None and own > term:
            index -= 1
        return index, own or 0

    # ---- changing

    def append(self, entries: Sequence[Entry]) -> None:
        """Append to the end, as only a leader does to its own log."""
        self._extend(entries)

    def splice(self, entries: Sequence[Entry]) -> None:
        """Take over a leader's entries, of which the one before the first agrees with ours (3.5).

        Entries that are here already are left alone: only a real disagreement truncates, so that an old
        message which arrives late takes nothing away.
        """
        for position, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                if entry.index <= self.last_index:
                    self._truncate(entry.index)
                self._extend(entries[position:])
                return

    def commit_to(self, index: int) -> bool:
        """Raise the commit position to `index`; tell whether that changed it."""
        if index <= self.commit:
            return False
        assert index <= self.last_index, f"commit {index} is beyond the last entry {self.last_index}"
        self.commit = index
        return True

    def compact(self, snapshot: SnapshotMeta, compact_to: int) -> None:
        """Note a durable snapshot of what is applied, and forget the entries up to `compact_to`."""
        if snapshot.index <= self.snapshot.index:
            return  # a snapshot from the leader was newer
        assert compact_to <= snapshot.index <= self.applied, (
            f"compaction to {compact_to} with a snapshot at {snapshot.index} and {self.applied} applied"
        )
        self.snapshot = snapshot
        if compact_to <= self._base_index:
            return
        term = self.term_at(compact_to)
        assert term is not None, f"entry {compact_to} is not in the log"
        config = self.config_at(compact_to)
        dropped = compact_to - self._base_index
        self.size_bytes -= sum(entry.size_bytes for entry in self._entries[:dropped])
        del self._entries[:dropped]
        self._base_index, self._base_term = compact_to, term
        self._configs = [(compact_to, config), *(kept for kept in self._configs if kept[0] > compact_to)]

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the whole log by a snapshot from the leader, which is ahead of what is committed here."""
        meta = snapshot.meta
        assert meta.index > self.commit, f"snapshot {meta.index} is not ahead of commit {self.commit}"
        self.snapshot, self.restoring, self._unsaved_snapshot = meta, snapshot, snapshot
        self._base_index, self._base_term = meta.index, meta.term
        self._entries.clear()
        self.size_bytes = 0
        self._configs = [(meta.index, meta.config)]
        self.commit = self.saved = meta.index
        self.stable = 0
        for write in self._writes:
            write.last = 0

    # ---- durability

    def unsaved_snapshot(self) -> Snapshot | None:
        """Return a received snapshot that is not yet handed out for writing."""
        return self._unsaved_snapshot

    def hand_out(self, sequence: int) -> tuple[Entry, ...]:
        """Return the entries that are not yet handed out for writing; all is handed out then, as write `sequence`."""
        self._unsaved_snapshot = None
        entries = self.between(self.saved + 1, self.last_index)
        self.saved = self.last_index
        self._writes.append(_Write(sequence, self.last_index))
        return entries

    def written(self, sequence: int) -> None:
        """Note that the writes up to number `sequence` are durable."""
        while self._writes and self._writes[0].sequence <= sequence:
            self.stable = max(self.stable, self._writes.pop(0).last)

    def take_restored(self) -> Snapshot | None:
        """Return the received snapshot once it is durable, and count it as applied; None before, and after that."""
        snapshot = self.restoring
        if snapshot is None or self.stable < snapshot.meta.index:
            return None
        self.restoring = None
        self.applied = snapshot.meta.index
        return snapshot

    def take_committed(self) -> tuple[Entry, ...]:
        """Return the entries that are committed, durable and not yet applied, and count them as applied."""
        upto = min(self.commit, self.stable)
        if self.restoring is not None or upto <= self.applied:
            return ()
        entries = self.between(self.applied + 1, upto)
        self.applied = upto
        return entries

    # ---- inside

    def _extend(self, entries: Sequence[Entry]) -> None:
        index, term = self.last_index, self.last_term
        for entry in entries:
            index += 1
            assert entry.index == index, f"entry {entry.index} where {index} is due"
            assert entry.term >= term, f"term {entry.term} of entry {index} is below the one before, {term}"
            term = entry.term
            self.size_bytes += entry.size_bytes
            if entry.config is not None:
                self._configs.append((index, entry.config))
        self._entries.extend(entries)

    def _truncate(self, index: int) -> None:
        """Drop the entries from `index` on."""
        assert index > self.commit, f"truncation at {index} would take away what is committed, {self.commit}"
        keep = index - self._base_index - 1
        self.size_bytes -= sum(entry.size_bytes for entry in self._entries[keep:])
        del self._entries[keep:]
        while self._configs[-1][0] >= index:
            self._configs.pop()
        self.saved = min(self.saved, index - 1)
        self.stable = min(self.stable, index - 1)
        for write in self._writes:
            write.last = min(write.last, index - 1)
