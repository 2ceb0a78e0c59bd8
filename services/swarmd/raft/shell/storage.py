"""A member's durable state: the log files and the snapshots of one directory, as one thing.

The order in which things become durable, and what recovery makes of a crash in between: 1. a snapshot's
file;                 nothing refers to it: removed 2. a new log file whose head names it; it counts 3.
older log files, older snapshots go; what is left over: removed at the next snapshot The last two snapshots
are kept, and the log from the older one on: when the newer cannot be read, nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from beeyard.swarm.v1 import raft_pb2 as pb
from services.kit import errors, log
from services.swarmd.raft.core.membership import REMOVED_MAX, Config, of_voters
from services.swarmd.raft.core.types import Entry, EntryKind, HardState, Recovered, SnapshotMeta
from services.swarmd.raft.shell import codec, snapshots, wal
from services.swarmd.raft.shell.history import Contradiction, History
from services.swarmd.raft.shell.sealing import SALT_BYTES, Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.swarmd.raft.core.effects import Persist
    from services.swarmd.raft.core.types import Snapshot
    from services.swarmd.raft.shell.disk import Disk
    from services.swarmd.raft.shell.sealing import KeyRing

_log = log.get(__name__)

SNAPSHOTS_KEPT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose state a directory holds."""

    cluster_id: str
    member_id: int


class Storage:
    """The durable state of one member. Everything blocks.

    `write`, `adopt_snapshot`, `replace_keys` and `close` are called from one thread at a time;
    `save_snapshot` and `load_snapshot` from any.
    """

    def __init__(
        self, disk: Disk, keys: KeyRing, entropy: Callable[[int], bytes], identity: Identity, sequence: int
    ) -> None:
        self._disk = disk
        self._keys = keys
        self._entropy = entropy
        self.identity = identity
        self.recovered = Recovered()
        """What was found when it was opened."""
        self.recovered_snapshot: Snapshot | None = None
        """The contents of the snapshot that `recovered` builds on, for whoever takes it first."""
        self._wal = wal.Wal(disk, keys, entropy, sequence)
        self._hard_state = HardState()
        self._snapshots: tuple[SnapshotMeta, ...] = ()
        self._high: dict[int, int] = {}  # log file -> the highest index of an entry in it

    # ---- its beginning

    @classmethod
    def create(
        cls,
        disk: Disk,
        keys: KeyRing,
        entropy: Callable[[int], bytes],
        identity: Identity,
        config: Config | None = None,
    ) -> Self:
        """Begin a member's state.

        Args:
            disk: Where; must hold no raft state.
            keys: The data key.
            entropy: Gives random bytes.
            identity: Whose it is.
            config: The members of a new cluster, the same for each of them. None for a member that joins
                one: the leader will tell it everything.

        Raises:
            AlreadyExists: There is raft state already.
        """
        if any(name.endswith((wal.SUFFIX, snapshots.SUFFIX)) for name in disk.names()):
            raise errors.AlreadyExists(f"there is raft state in {disk} already", reason="RAFT_STATE_EXISTS")
        storage = cls(disk, keys, entropy, identity, sequence=1)
        if config is not None:
            first = Entry(1, 1, EntryKind.CONFIG, config=config)
            state = HardState(term=1, commit=1)
            storage.recovered = Recovered(hard_state=state, entries=(first,))
        storage._hard_state = storage.recovered.hard_state
        storage._begin_file(storage.recovered.entries, follows=0)
        return storage

    @classmethod
    def open(cls, disk: Disk, keys: KeyRing, entropy: Callable[[int], bytes]) -> Self:
        """Read a member's state, and repair what a crash left.

        Raises:
            NotFound: There is no raft state (reason NO_RAFT_STATE).
            Corrupt: What was durable is missing or damaged.
            FailedPrecondition: The data key is not among those given (reason WRONG_DATA_KEY).
        """
        files = wal.read(disk, keys)
        if not files:
            raise errors.NotFound(f"there is no raft state in {disk}", reason="NO_RAFT_STATE")
        history = History()
        high: dict[int, int] = {}
        for file in files:
            for record in file.records:
                try:
                    index = history.add(file.sequence, record)
                    high[file.sequence] = max(high.get(file.sequence, 0), index)
                except (Contradiction, errors.Invalid) as error:
                    raise wal.Corrupt(
                        f"raft log {disk}/{file.name} contradicts itself: {error}",
                        metadata={"file": file.name},
                    ) from error
        identity = Identity(cluster_id=history.cluster_id, member_id=history.member_id)
        storage = cls(disk, keys, entropy, identity, sequence=files[-1].sequence + 1)
        storage._high = high
        storage._hard_state = history.hard_state
        storage._snapshots = history.snapshots
        storage.recovered = storage._recover(history)
        if len(files[-1].records) == 1 and not high[files[-1].sequence]:
            # Nothing but a head, which the new file repeats: restarts alone must not pile up files.
            storage._begin_file(follows=files[-2].sequence if len(files) > 1 else 0)
            storage._disk.remove(files[-1].name)
            del high[files[-1].sequence]
        else:
            storage._begin_file(follows=files[-1].sequence)
        return storage

    def _recover(self, history: History) -> Recovered:
        complaints: list[str] = []
        for meta in reversed(history.snapshots):
            recovered = history.recovered(meta)
            if recovered is None:
                complaints.append(f"entries after snapshot {meta.index} are missing from the log")
                continue
            try:
                self.recovered_snapshot = self.load_snapshot(meta)
            except wal.Corrupt as error:
                complaints.append(error.message)
                continue
            for complaint in complaints:
                _log.error("raft_snapshot_passed_over", complaint=complaint, used=meta.index)
            self._snapshots = tuple(kept for kept in self._snapshots if kept.index <= meta.index)
            return recovered
        recovered = None if history.snapshots else history.recovered(SnapshotMeta())
        if recovered is None:
            raise wal.Corrupt(
                f"the raft state in {self._disk} cannot be put together: "
                + ("; ".join(complaints) or "the log does not begin at its first entry")
                + ". Remove this member from the cluster and let it join anew",
            )
        return recovered

    # ---- the log

    def write(self, persists: Sequence[Persist]) -> None:
        """Write these, in order; durable on return as far as any of them asks for it."""
        for persist in persists:
            self._hard_state = persist.hard_state
            if persist.snapshot is not None:
                self.save_snapshot(persist.snapshot)
                self.adopt_snapshot(persist.snapshot.meta)
            if persist.entries or persist.snapshot is None:
                self._append(persist.entries)
        if any(persist.sync for persist in persists):
            self._wal.sync()
        if self._wal.full:
            self._begin_file()

    def _append(self, entries: Sequence[Entry]) -> None:
        record = pb.RaftRecord(
            hard_state=codec.hard_state_to_pb(self._hard_state),
            entries=[codec.entry_to_pb(entry) for entry in entries],
        )
        self._wal.append(record.SerializeToString())
        self._note_high(entries)

    def _begin_file(self, entries: Sequence[Entry] = (), *, follows: int | None = None) -> None:
        record = pb.RaftRecord(
            head=pb.RaftSegmentHead(
                cluster_id=self.identity.cluster_id,
                raft_id=self.identity.member_id,
                snapshots=[codec.snapshot_meta_to_pb(meta) for meta in self._snapshots],
                follows=self._wal.sequence if follows is None else follows,
            ),
            hard_state=codec.hard_state_to_pb(self._hard_state),
            entries=[codec.entry_to_pb(entry) for entry in entries],
        )
        self._wal.begin(record.SerializeToString())
        self._note_high(entries)

    def _note_high(self, entries: Sequence[Entry]) -> None:
        high = max((entry.index for entry in entries), default=0)
        self._high[self._wal.sequence] = max(self._high.get(self._wal.sequence, 0), high)

    # ---- snapshots

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot's file, durably. It counts after `adopt_snapshot`."""
        data = snapshots.encode(snapshot, self._keys, self._entropy(SALT_BYTES))
        self._disk.write(snapshots.file_name(snapshot.meta), data)

    def adopt_snapshot(self, meta: SnapshotMeta) -> bool:
        """Let a saved snapshot count, and drop what it makes superfluous; tell whether it did count.

        It does not if a newer one came from the leader meanwhile.
        """
        if self._snapshots and meta.index <= self._snapshots[-1].index:
            return False
        self._snapshots = (*self._snapshots, meta)[-SNAPSHOTS_KEPT:]
        self._begin_file()
        self._drop_superfluous()
        return True

    def load_snapshot(self, meta: SnapshotMeta) -> Snapshot:
        """Return a snapshot that counts.

        Raises:
            Corrupt: It is missing or damaged.
        """
        name = snapshots.file_name(meta)
        try:
            snapshot = snapshots.decode(self._disk.read(name), self._keys, name)
        except (OSError, Damaged) as error:
            raise wal.Corrupt(
                f"raft snapshot {self._disk}/{name} cannot be used: {error}", metadata={"file": name}
            ) from error
        return snapshot

    def _drop_superfluous(self) -> None:
        kept = [snapshots.file_name(meta) for meta in self._snapshots]
        newest = kept[-1]  # one that is newer still may be about to count
        for name in self._disk.names():
            if name.endswith(snapshots.SUFFIX) and name not in kept and name < newest:
                self._disk.remove(name)
        oldest = self._snapshots[0].index
        for sequence in sorted(self._high):
            if sequence == self._wal.sequence or self._high[sequence] > oldest:
                break
            self._disk.remove(wal.file_name(sequence))
            del self._high[sequence]

    # ---- disaster, keys, and its end

    def forget_others(self) -> None:
        """Make this member the only one of its cluster; see `force_new_cluster`."""
        found = self.recovered
        config = next(
            (e.config for e in reversed(found.entries) if e.config is not None), found.snapshot.config
        )
        member = config.member(self.identity.member_id)
        if member is None:
            raise errors.FailedPrecondition(
                f"member {self.identity.member_id:x} is not in the configuration that its log knows",
                reason="NOT_A_MEMBER",
            )
        others = tuple(other.id for other in config.members if other is not member)
        alone = replace(of_voters(member), removed=(*config.removed, *others)[-REMOVED_MAX:])
        # A new term keeps this entry apart from any that the old leader may have put at its index.
        term = found.hard_state.term + 1
        last = found.entries[-1].index if found.entries else found.snapshot.index
        entry = Entry(last + 1, term, EntryKind.CONFIG, config=alone)
        self._hard_state = HardState(term=term, vote=member.id, commit=entry.index)
        self._append((entry,))
        self._wal.sync()
        self.recovered = Recovered(
            hard_state=self._hard_state, snapshot=found.snapshot, entries=(*found.entries, entry)
        )

    def replace_keys(self, keys: KeyRing) -> None:
        """Seal with another data key from now on; older files keep theirs until a snapshot replaces them."""
        self._keys = keys
        self._wal.replace_keys(keys)
        self._begin_file()

    def close(self) -> None:
        """Vouch for everything that was written: damage to it cannot be taken for a torn write any more."""
        self._wal.sync()
        self._append(())
        self._wal.sync()


def force_new_cluster(disk: Disk, keys: KeyRing, entropy: Callable[[int], bytes]) -> Storage:
    """Open a member's state and make it the only member of its cluster: for when the others are lost for good.

    Everything in its log is kept, also what it does not know to be committed, as it may have been
    acknowledged. The other members must never come back with their old state.

    Raises:
        NotFound, Corrupt, FailedPrecondition: As `Storage.open`.
        FailedPrecondition: The log does not know this member (reason NOT_A_MEMBER).
    """
    storage = Storage.open(disk, keys, entropy)
    storage.forget_others()
    return storage
