"""What the records of the log add up to: the hard state, the snapshots that count, and the entries after them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import raft_pb2 as pb
from services.swarmd.raft.core.types import HardState, Recovered, SnapshotMeta
from services.swarmd.raft.shell import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.raft.core.types import Entry


class Contradiction(Exception):
    """The records cannot all be true."""


class History:
    """Takes records in the order in which they were written."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.cluster_id = ""
        self.member_id = 0
        self.snapshots: tuple[SnapshotMeta, ...] = ()
        """Those that count, oldest first."""
        self._entries: list[Entry] = []
        self._start = 1
        """The index of the first of the entries, or of the one that would be."""
        self._began = False  # whether an entry was seen; before that, older files may have gone
        self._file = 0

    def add(self, file: int, data: bytes) -> int:
        """Take in a record of the file of this number; return the highest index in it, or 0.

        Raises:
            Contradiction: It does not follow from those before.
        """
        record = pb.RaftRecord.FromString(data)
        if record.HasField("head"):
            self._open_file(file, record.head)
        if record.HasField("hard_state"):
            state = codec.hard_state_from_pb(record.hard_state)
            if state.term < self.hard_state.term:
                raise Contradiction(f"term {state.term} after term {self.hard_state.term}")
            self.hard_state = state
        if record.entries:
            self._take([codec.entry_from_pb(entry) for entry in record.entries])
        return max((entry.index for entry in record.entries), default=0)

    def recovered(self, snapshot: SnapshotMeta) -> Recovered | None:
        """Return the member's state on top of this snapshot; None if entries between the two are missing."""
        last = self._start + len(self._entries) - 1
        if not self._start - 1 <= snapshot.index <= last:
            return None
        if self._term_at(snapshot.index) not in (None, snapshot.term):
            return None
        entries = tuple(self._entries[snapshot.index + 1 - self._start :])
        commit = max(snapshot.index, min(self.hard_state.commit, last))
        state = HardState(term=self.hard_state.term, vote=self.hard_state.vote, commit=commit)
        return Recovered(hard_state=state, snapshot=snapshot, entries=entries)

    def _open_file(self, file: int, head: pb.RaftSegmentHead) -> None:
        if self._file and head.follows > self._file:
            raise Contradiction(f"file {head.follows:x}, after {self._file:x}, is missing")
        self._file = file
        identity = (head.cluster_id, head.raft_id)
        if self.member_id and identity != (self.cluster_id, self.member_id):
            raise Contradiction(f"a file of member {head.raft_id:x} among those of {self.member_id:x}")
        self.cluster_id, self.member_id = identity
        self.snapshots = tuple(codec.snapshot_meta_from_pb(meta) for meta in head.snapshots)
        for meta in self.snapshots:
            # A snapshot of what the log holds changes nothing; one from the leader takes the log's place.
            if meta.index >= self._start and self._term_at(meta.index) != meta.term:
                self._entries.clear()
                self._start = meta.index + 1

    def _take(self, entries: Sequence[Entry]) -> None:
        index = entries[0].index
        if not self._began or index < self._start:
            # The files with the entries before these are gone; a snapshot must cover those, see `recovered`.
            self._began = True
            self._entries.clear()
            self._start = index
        due = self._start + len(self._entries)
        if index > due:
            raise Contradiction(f"entry {index} where {due} is due")
        del self._entries[index - self._start :]
        self._entries.extend(entries)

    def _term_at(self, index: int) -> int | None:
        offset = index - self._start
        return self._entries[offset].term if 0 <= offset < len(self._entries) else None
