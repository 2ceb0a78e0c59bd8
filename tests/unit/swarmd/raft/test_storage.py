"""A member's durable state, on a disk in memory: what comes back, what is repaired, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from services.kit.errors import AlreadyExists, BeeyardError, FailedPrecondition, Internal, NotFound
from services.swarmd.raft.core.effects import Persist
from services.swarmd.raft.core.membership import Member, of_voters
from services.swarmd.raft.core.types import Entry, EntryKind, HardState, Snapshot, SnapshotMeta
from services.swarmd.raft.shell import wal
from services.swarmd.raft.shell.sealing import KeyRing
from services.swarmd.raft.shell.storage import Identity, Storage, force_new_cluster
from services.swarmd.raft.shell.wal import Corrupt
from tests.sim.raft.disk import PowerCut, SimDisk

KEYS = KeyRing(bytes(32))
OTHER_KEYS = KeyRing(bytes([1]) * 32)
WHO = Identity(cluster_id="c", member_id=1)
CONFIG = of_voters(*(Member(id=at, node_id=f"n{at}", address=f"n{at}:1") for at in (1, 2, 3)))


class Writer:
    """A storage that is written to, and what should come back."""

    def __init__(self, disk: SimDisk | None = None, keys: KeyRing = KEYS) -> None:
        self.disk = disk or SimDisk(random.Random(0), "disk")
        self._entropy = random.Random(1).randbytes
        self.storage = Storage.create(self.disk, keys, self._entropy, WHO, CONFIG)
        self.state = self.storage.recovered.hard_state
        self.entries = list(self.storage.recovered.entries)
        self._sequence = 0

    def write(self, first: int, terms: Sequence[int], *, vote: int = 0, sync: bool = True) -> None:
        """Write entries of these terms from `first` on, in one write."""
        new = [Entry(at, term, data=b"%d" % at) for at, term in enumerate(terms, first)]
        self.entries = [entry for entry in self.entries if entry.index < first] + new
        self.state = HardState(term=max([self.state.term, *terms]), vote=vote, commit=self.state.commit)
        self._persist(tuple(new), sync=sync)

    def commit(self, index: int) -> None:
        self.state = HardState(term=self.state.term, vote=self.state.vote, commit=index)
        self._persist((), sync=False)

    def _persist(self, entries: tuple[Entry, ...], *, sync: bool) -> None:
        self._sequence += 1
        self.storage.write(
            [Persist(sequence=self._sequence, hard_state=self.state, entries=entries, sync=sync)]
        )

    def snapshot(self, index: int, data: bytes = b"state") -> SnapshotMeta:
        """Take a snapshot of what is in the log."""
        term = next(entry.term for entry in self.entries if entry.index == index)
        meta = SnapshotMeta(index=index, term=term, config=CONFIG)
        self.storage.save_snapshot(Snapshot(meta=meta, data=data))
        assert self.storage.adopt_snapshot(meta)
        return meta

    def receive_snapshot(self, index: int, term: int) -> SnapshotMeta:
        """Write a snapshot from the leader, which takes the place of the log."""
        meta = SnapshotMeta(index=index, term=term, config=CONFIG)
        self._sequence += 1
        self.entries = []
        self.state = HardState(term=term, commit=index)
        self.storage.write(
            [
                Persist(
                    sequence=self._sequence,
                    hard_state=self.state,
                    snapshot=Snapshot(meta=meta, data=b"theirs"),
                )
            ]
        )
        return meta

    def reopen(self, keys: KeyRing = KEYS) -> Storage:
        self.storage = reopened(self.disk, keys)
        return self.storage


def reopened(disk: SimDisk, keys: KeyRing = KEYS) -> Storage:
    return Storage.open(disk, keys, random.Random(2).randbytes)


def logs(disk: SimDisk) -> list[str]:
    return [name for name in disk.names() if name.endswith(wal.SUFFIX)]


# ---- what is written comes back


def test_a_new_cluster_begins_with_its_members_committed() -> None:
    writer = Writer()
    recovered = writer.reopen().recovered
    assert recovered.entries == (Entry(1, 1, EntryKind.CONFIG, config=CONFIG),)
    assert recovered.hard_state == HardState(term=1, commit=1)
    assert writer.storage.identity == WHO


def test_a_joining_member_begins_with_nothing() -> None:
    disk = SimDisk(random.Random(0), "disk")
    Storage.create(disk, KEYS, random.Random(1).randbytes, WHO)
    recovered = reopened(disk).recovered
    assert recovered.entries == ()
    assert recovered.hard_state == HardState()


def test_entries_term_and_vote_come_back() -> None:
    writer = Writer()
    writer.write(2, [2, 2, 3], vote=3)
    writer.write(5, [3])
    recovered = writer.reopen().recovered
    assert recovered.entries == tuple(writer.entries)
    assert recovered.hard_state == HardState(term=3, vote=0, commit=1)


def test_what_was_replaced_does_not_come_back() -> None:
    writer = Writer()
    writer.write(2, [2, 2, 2])
    writer.write(3, [3])
    assert [entry.term for entry in writer.reopen().recovered.entries] == [1, 2, 3]


def test_many_restarts_pile_up_nothing() -> None:
    writer = Writer()
    writer.write(2, [2])
    for _ in range(20):
        writer.reopen()
    assert len(logs(writer.disk)) <= 2
    assert writer.storage.recovered.entries == tuple(writer.entries)


def test_restarts_with_writes_in_between() -> None:
    writer = Writer()
    for index in range(2, 12):
        writer.write(index, [2])
        assert writer.reopen().recovered.entries == tuple(writer.entries)


def test_there_is_one_state_in_a_directory() -> None:
    writer = Writer()
    with pytest.raises(AlreadyExists):
        Writer(writer.disk)


def test_no_state_is_not_an_empty_state() -> None:
    with pytest.raises(NotFound):
        reopened(SimDisk(random.Random(0), "disk"))


def test_a_large_log_goes_on_in_the_next_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "FILE_BYTES_MAX", 500)
    writer = Writer()
    for index in range(2, 30):
        writer.write(index, [2])
    assert len(logs(writer.disk)) > 3
    assert writer.reopen().recovered.entries == tuple(writer.entries)


# ---- snapshots


def test_a_snapshot_takes_the_place_of_the_entries_before_it() -> None:
    writer = Writer()
    writer.write(2, [2] * 9)
    meta = writer.snapshot(6, b"six")
    storage = writer.reopen()
    assert storage.recovered.snapshot == meta
    assert storage.recovered_snapshot == Snapshot(meta=meta, data=b"six")
    assert [entry.index for entry in storage.recovered.entries] == [7, 8, 9, 10]


def test_old_files_go_when_two_snapshots_cover_them() -> None:
    writer = Writer()
    for index in range(2, 50):
        writer.write(index, [2])
        if index % 5 == 0:
            writer.snapshot(index)
    assert len(logs(writer.disk)) <= 4
    assert len([name for name in writer.disk.names() if "snapshot" in name]) == 2
    recovered = writer.reopen().recovered
    assert recovered.snapshot.index == 45
    assert [entry.index for entry in recovered.entries] == [46, 47, 48, 49]


def test_a_large_snapshot_comes_back() -> None:
    writer = Writer()
    data = random.Random(3).randbytes(3_500_000)
    writer.snapshot(1, data)
    assert writer.reopen().recovered_snapshot is not None
    assert writer.storage.recovered_snapshot.data == data  # type: ignore[union-attr]


def test_a_damaged_snapshot_is_passed_over_for_the_one_before() -> None:
    writer = Writer()
    writer.write(2, [2] * 9)
    older = writer.snapshot(4)
    writer.snapshot(8)
    newest = [name for name in writer.disk.names() if "snapshot" in name][-1]
    writer.disk.write(newest, writer.disk.read(newest)[:-1])
    recovered = writer.reopen().recovered
    assert recovered.snapshot == older
    assert [entry.index for entry in recovered.entries] == [5, 6, 7, 8, 9, 10]


def test_a_received_snapshot_replaces_the_log() -> None:
    writer = Writer()
    writer.write(2, [2, 2, 2])
    meta = writer.receive_snapshot(100, term=7)
    recovered = writer.reopen().recovered
    assert (recovered.snapshot, recovered.entries) == (meta, ())
    assert recovered.hard_state == HardState(term=7, commit=100)


def test_a_received_snapshot_that_is_damaged_cannot_be_replaced() -> None:
    writer = Writer()
    writer.write(2, [2, 2, 2])
    writer.snapshot(3)
    writer.receive_snapshot(100, term=7)
    newest = [name for name in writer.disk.names() if "snapshot" in name][-1]
    writer.disk.remove(newest)
    with pytest.raises(Corrupt, match="cannot be put together"):
        writer.reopen()


def test_an_older_snapshot_does_not_count() -> None:
    writer = Writer()
    writer.write(2, [2] * 9)
    writer.snapshot(8)
    meta = SnapshotMeta(index=4, term=2, config=CONFIG)
    writer.storage.save_snapshot(Snapshot(meta=meta, data=b""))
    assert not writer.storage.adopt_snapshot(meta)


# ---- crashes


@pytest.mark.parametrize("operations", range(9))
def test_a_crash_in_a_snapshot_leaves_the_state_before_or_after(operations: int) -> None:
    for seed in range(10):
        writer = Writer(SimDisk(random.Random(seed), "disk"))
        writer.write(2, [2] * 9)
        writer.snapshot(4)
        writer.write(11, [2])
        writer.snapshot(7)
        writer.disk.power_cut_after(operations)
        with pytest.raises(PowerCut):
            writer.snapshot(9)
            writer.write(12, [2])
            writer.write(13, [2])
            writer.write(14, [2])
        writer.disk.crash()
        recovered = writer.reopen().recovered
        assert recovered.snapshot.index in (7, 9)
        assert [entry.index for entry in recovered.entries][: 11 - recovered.snapshot.index] == list(
            range(recovered.snapshot.index + 1, 12)
        )


def test_the_unsynced_tail_may_be_cut_anywhere() -> None:
    synced = Writer()
    synced.write(2, [2, 2])
    (name,) = logs(synced.disk)[-1:]
    before = len(synced.disk.read(name))
    synced.write(4, [2] * 3)
    whole = synced.disk.read(name)
    for cut in range(before, len(whole)):
        disk = SimDisk(random.Random(0), "disk")
        disk.write(name, whole[:cut])
        assert len(reopened(disk).recovered.entries) == 3
        assert reopened(disk).recovered.entries[-1].index == 3, "and it stays repaired"


@pytest.mark.parametrize("closed", [True, False])
def test_any_damage_to_what_was_durable_is_refused(closed: bool) -> None:
    """Of a log that was closed, no byte may change; of another, none that a later write vouches for."""
    writer = Writer()
    writer.write(2, [2, 2])
    (name,) = logs(writer.disk)[-1:]
    vouched = len(writer.disk.read(name))
    writer.write(4, [2])
    if closed:
        vouched = len(writer.disk.read(name))
        writer.storage.close()
    whole = writer.disk.read(name)
    for at in range(vouched):
        disk = SimDisk(random.Random(0), "disk")
        disk.write(name, whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises((Corrupt, FailedPrecondition, NotFound)) as caught:
            reopened(disk)
        if isinstance(caught.value, Corrupt) and "file" in caught.value.metadata:
            assert caught.value.metadata["file"] == name


def test_a_lost_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "FILE_BYTES_MAX", 500)
    for lost in range(3):
        writer = Writer()
        for index in range(2, 30):
            writer.write(index, [2])
        writer.disk.remove(logs(writer.disk)[lost])
        with pytest.raises(Corrupt):
            writer.reopen()


def test_damage_names_the_file_and_the_offset() -> None:
    writer = Writer()
    writer.write(2, [2])
    (name,) = logs(writer.disk)[-1:]
    offset = len(writer.disk.read(name))
    writer.write(3, [2])
    writer.write(4, [2])
    whole = writer.disk.read(name)
    writer.disk.write(name, whole[: offset + 20] + bytes(10) + whole[offset + 30 :])
    with pytest.raises(Corrupt, match=f"disk/{name} is corrupt at offset {offset}"):
        writer.reopen()


def test_a_gap_among_unsynced_writes_is_a_torn_tail() -> None:
    writer = Writer()
    writer.write(2, [2])
    (name,) = logs(writer.disk)[-1:]
    offset = len(writer.disk.read(name))
    writer.commit(2)  # not synced
    end = len(writer.disk.read(name))
    writer.commit(2)
    whole = writer.disk.read(name)
    writer.disk.write(name, whole[:offset] + bytes(end - offset) + whole[end:])
    assert writer.reopen().recovered.entries == tuple(writer.entries)


def test_after_a_failed_write_nothing_is_written_any_more() -> None:
    writer = Writer()
    writer.disk.power_cut_after(1)
    with pytest.raises(PowerCut):
        writer.write(2, [2])
    writer.disk.power_stays()
    with pytest.raises(Internal, match="failed before"):
        writer.write(2, [2])


# ---- keys


def test_nothing_is_readable_on_the_disk() -> None:
    writer = Writer()
    writer.storage.write(
        [
            Persist(
                sequence=1,
                hard_state=HardState(term=2),
                entries=(Entry(2, 2, data=b"a secret of the cluster"),),
            )
        ]
    )
    writer.snapshot(1, b"a secret of the cluster")
    assert not any(b"secret" in writer.disk.read(name) for name in writer.disk.names())


def test_another_key_is_called_that() -> None:
    writer = Writer()
    with pytest.raises(FailedPrecondition) as caught:
        writer.reopen(OTHER_KEYS)
    assert caught.value.reason == "WRONG_DATA_KEY"


def test_the_key_is_replaced_step_by_step() -> None:
    writer = Writer()
    writer.write(2, [2] * 5)
    writer.snapshot(3)
    both = KeyRing(OTHER_KEYS.current, former=(KEYS.current,))
    writer.storage.replace_keys(both)
    writer.write(7, [2])
    assert writer.reopen(both).recovered.entries[-1].index == 7
    with pytest.raises(FailedPrecondition):
        writer.reopen(OTHER_KEYS)
    writer.reopen(both)
    writer.snapshot(6)
    writer.snapshot(7)
    assert writer.reopen(OTHER_KEYS).recovered.snapshot.index == 7


def test_a_file_cannot_take_the_place_of_another() -> None:
    writer = Writer()
    writer.write(2, [2])
    writer.reopen()
    first, second = logs(writer.disk)
    contents = writer.disk.read(first)
    writer.disk.write(second, contents)
    with pytest.raises(Corrupt):
        writer.reopen()


# ---- disaster


def test_a_forced_new_cluster_keeps_everything_and_knows_nobody_else() -> None:
    writer = Writer()
    writer.write(2, [2, 2, 2])
    storage = force_new_cluster(writer.disk, KEYS, random.Random(4).randbytes)
    for recovered in (storage.recovered, writer.reopen().recovered):
        assert [entry.index for entry in recovered.entries] == [1, 2, 3, 4, 5]
        config = recovered.entries[-1].config
        assert config is not None
        assert (config.voters, config.removed) == ((1,), (2, 3))
        assert recovered.hard_state.commit == 5
        assert recovered.entries[-1].term == 3


def test_a_forced_new_cluster_needs_a_member() -> None:
    disk = SimDisk(random.Random(0), "disk")
    Storage.create(disk, KEYS, random.Random(1).randbytes, WHO)
    with pytest.raises(FailedPrecondition) as caught:
        force_new_cluster(disk, KEYS, random.Random(4).randbytes)
    assert caught.value.reason == "NOT_A_MEMBER"


def test_every_refusal_is_an_operating_error() -> None:
    assert issubclass(Corrupt, BeeyardError)
