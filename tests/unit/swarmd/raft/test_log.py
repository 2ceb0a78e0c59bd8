"""The log in memory, against a plain list of entries."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.swarmd.raft.core.log import RaftLog
from services.swarmd.raft.core.membership import Member, of_voters
from services.swarmd.raft.core.types import (
    ENTRY_OVERHEAD_BYTES,
    Entry,
    EntryKind,
    HardState,
    Recovered,
    Snapshot,
    SnapshotMeta,
)

ONE = of_voters(Member(id=1))
TWO = of_voters(Member(id=1), Member(id=2))


def log(*terms: int, commit: int = 0, base: int = 0, base_term: int = 0) -> RaftLog:
    entries = tuple(Entry(at, term) for at, term in enumerate(terms, base + 1))
    meta = SnapshotMeta(index=base, term=base_term, config=ONE)
    return RaftLog(Recovered(hard_state=HardState(commit=commit), snapshot=meta, entries=entries))


def terms(of: RaftLog) -> list[int]:
    return [entry.term for entry in of.between(of.first_index, of.last_index)]


def entries(first: int, *of_terms: int) -> list[Entry]:
    return [Entry(at, term) for at, term in enumerate(of_terms, first)]


def test_an_empty_log() -> None:
    empty = log()
    assert (empty.first_index, empty.last_index, empty.last_term) == (1, 0, 0)
    assert empty.term_at(0) == 0
    assert empty.term_at(1) is None


def test_a_log_after_a_snapshot() -> None:
    cut = log(5, 6, base=10, base_term=4)
    assert (cut.first_index, cut.last_index) == (11, 12)
    assert [cut.term_at(at) for at in (9, 10, 11, 12, 13)] == [None, 4, 5, 6, None]
    assert cut.commit == cut.applied == 10


@pytest.mark.parametrize(
    ("own", "first", "new", "after"),
    [
        ((1, 1, 2), 4, (2, 2), [1, 1, 2, 2, 2]),  # goes on
        ((1, 1, 2), 2, (1, 2), [1, 1, 2]),  # nothing new
        ((1, 1, 2), 2, (1,), [1, 1, 2]),  # older than what is here: nothing is lost
        ((1, 1, 2), 2, (3,), [1, 3]),  # disagrees
        ((1, 1, 2, 2), 3, (3, 3, 3), [1, 1, 3, 3, 3]),
        ((1, 1, 2), 2, (1, 3), [1, 1, 3]),  # agrees at first
    ],
)
def test_splice(own: tuple[int, ...], first: int, new: tuple[int, ...], after: list[int]) -> None:
    spliced = log(*own)
    spliced.splice(entries(first, *new))
    assert terms(spliced) == after


def test_what_is_committed_is_not_cut_off() -> None:
    with pytest.raises(AssertionError):
        log(1, 1, 2, commit=2).splice(entries(2, 3))


def test_a_gap_is_a_fault() -> None:
    with pytest.raises(AssertionError):
        log(1, 1).append(entries(4, 1))


def test_falling_terms_are_a_fault() -> None:
    with pytest.raises(AssertionError):
        log(1, 2).append(entries(3, 1))


@pytest.mark.parametrize(
    ("last_index", "last_term", "current"),
    [(3, 2, True), (4, 2, True), (2, 2, False), (1, 3, True), (9, 1, False)],
)
def test_is_current(last_index: int, last_term: int, current: bool) -> None:
    assert log(1, 1, 2).is_current(last_index, last_term) is current


@pytest.mark.parametrize(
    ("index", "term", "hint"),
    [(9, 9, (6, 4)), (6, 4, (6, 4)), (6, 3, (4, 2)), (5, 1, (2, 1)), (2, 9, (2, 1)), (6, 0, (0, 0))],
)
def test_agreement_hint(index: int, term: int, hint: tuple[int, int]) -> None:
    assert log(1, 1, 2, 2, 4, 4).agreement_hint(index, term) == hint


def test_the_hint_ends_where_the_log_is_cut() -> None:
    assert log(5, 5, base=10, base_term=4).agreement_hint(12, 3) == (9, 0)


def test_a_batch_is_bounded_but_never_empty() -> None:
    of = log(*[1] * 10)
    assert len(of.batch(1, 0)) == 1
    assert len(of.batch(1, 3 * ENTRY_OVERHEAD_BYTES)) == 3
    assert len(of.batch(1, 1 << 30)) == 10
    assert of.batch(11, 1 << 30) == ()


def test_only_what_is_committed_and_durable_is_applied_and_once() -> None:
    of = log(1)
    of.append(entries(2, 1, 1, 1))
    assert of.hand_out(1) == tuple(entries(2, 1, 1, 1))
    of.commit_to(3)
    assert of.take_committed() == tuple(entries(1, 1))
    of.written(1)
    assert of.take_committed() == tuple(entries(2, 1, 1))
    assert of.take_committed() == ()


def test_the_end_of_an_old_write_makes_nothing_durable_that_replaced_it() -> None:
    of = log(1)
    of.append(entries(2, 2, 2))
    of.hand_out(1)
    of.splice(entries(2, 3))
    assert of.hand_out(2) == tuple(entries(2, 3))
    of.splice(entries(2, 4))
    of.hand_out(3)
    of.written(1)
    assert of.stable == 1
    of.written(2)
    assert of.stable == 1
    of.written(3)
    assert of.stable == 2


def test_a_received_snapshot_counts_when_it_is_durable() -> None:
    of = log(1, 1)
    of.append(entries(3, 1))
    of.hand_out(1)
    snapshot = Snapshot(meta=SnapshotMeta(index=9, term=3, config=TWO), data=b"x")
    of.restore(snapshot)
    assert of.unsaved_snapshot() is snapshot
    assert of.config is TWO
    of.hand_out(2)
    assert of.unsaved_snapshot() is None
    of.written(1)
    assert of.take_restored() is None
    of.append(entries(10, 4))
    of.hand_out(3)
    of.written(2)
    assert of.take_committed() == ()
    assert of.take_restored() is snapshot
    assert of.take_restored() is None
    assert (of.applied, of.stable) == (9, 9)
    of.written(3)
    of.commit_to(10)
    assert of.take_committed() == tuple(entries(10, 4))


def test_compaction_keeps_the_configuration_in_effect() -> None:
    of = log(1, 1)
    of.append([Entry(3, 1, EntryKind.CONFIG, config=TWO), *entries(4, 1, 1)])
    of.hand_out(1)
    of.written(1)
    of.commit_to(5)
    of.take_committed()
    size = of.size_bytes
    of.compact(SnapshotMeta(index=5, term=1, config=of.config_at(5)), compact_to=4)
    assert (of.first_index, of.config, of.config_at(4)) == (5, TWO, TWO)
    assert of.size_bytes == size - 4 * ENTRY_OVERHEAD_BYTES
    of.compact(SnapshotMeta(index=2, term=1, config=ONE), compact_to=2)
    assert of.snapshot.index == 5, "an older snapshot changes nothing"


def test_a_configuration_goes_with_its_entry() -> None:
    of = log(1, 1)
    of.append([Entry(3, 1, EntryKind.CONFIG, config=TWO)])
    assert (of.config, of.config_index) == (TWO, 3)
    of.splice(entries(3, 2))
    assert (of.config, of.config_index) == (ONE, 0)


@pytest.mark.parametrize(
    ("entries_max", "bytes_max", "cut"),
    [(3, 1 << 20, 7), (0, 1 << 20, 10), (99, 1 << 20, 0), (99, 2 * ENTRY_OVERHEAD_BYTES, 8), (99, 1, 10)],
)
def test_cut_before(entries_max: int, bytes_max: int, cut: int) -> None:
    assert log(*[1] * 12).cut_before(10, entries_max, bytes_max) == cut


# ---- any sequence of steps, against a list


@dataclass
class Dumb:
    """A list of terms and of durable terms; what is written later is written after what was written before."""

    terms: list[int] = field(default_factory=lambda: [1])
    commit: int = 0
    writes: list[tuple[int, list[int]]] = field(default_factory=list)
    disk: list[int] = field(default_factory=lambda: [1])

    def stable(self) -> int:
        """How far disk and log agree, whatever of the open writes reaches the disk."""
        agree = 0
        for mine, theirs in zip(self.terms, self.disk, strict=False):
            if mine != theirs:
                break
            agree += 1
        for first, _ in self.writes:
            agree = min(agree, first - 1)
        return agree


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("splice"), st.integers(1, 8), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("write")),
        st.tuples(st.just("written")),
        st.tuples(st.just("commit"), st.integers(1, 8)),
    ),
    max_size=30,
)


@given(steps)
def test_any_steps_do_what_they_do_to_a_list(sequence: list[tuple[object, ...]]) -> None:
    of, dumb, sequence_number = log(1), Dumb(), 0
    for step in sequence:
        match step:
            case ("append", int(rise), int(count)):
                new = [of.last_term + rise] * count
                of.append(entries(of.last_index + 1, *new))
                dumb.terms += new
            case ("splice", int(first), int(rise), int(count)):
                if first > len(dumb.terms) + 1:
                    continue
                before = dumb.terms[first - 2] if first > 1 else 0
                new = [max(1, before + rise)] * count
                agree = all(a == b for a, b in zip(dumb.terms[first - 1 :], new, strict=False))
                if not agree and first <= dumb.commit:
                    continue
                of.splice(entries(first, *new))
                if not agree or first - 1 + count > len(dumb.terms):
                    dumb.terms = dumb.terms[: first - 1] + new
            case ("write",):
                sequence_number += 1
                handed = of.hand_out(sequence_number)
                if handed:
                    dumb.writes.append((handed[0].index, [entry.term for entry in handed]))
                else:
                    dumb.writes.append((len(dumb.terms) + 1, []))
            case ("written",):
                if dumb.writes:
                    first, written = dumb.writes.pop(0)
                    if written:
                        dumb.disk = dumb.disk[: first - 1] + written
                    of.written(sequence_number - len(dumb.writes))
            case ("commit", int(index)):
                if index <= len(dumb.terms):
                    of.commit_to(index)
                    dumb.commit = max(dumb.commit, index)
            case _:
                raise AssertionError(step)
        assert terms(of) == dumb.terms
        assert of.commit == dumb.commit
        assert of.stable <= dumb.stable(), "nothing counts as durable that a crash could take"
        assert of.stable <= of.saved <= of.last_index


@given(st.lists(st.integers(1, 4), max_size=12), st.lists(st.integers(1, 4), max_size=12))
def test_the_hints_of_two_logs_never_pass_over_an_agreement(one: list[int], other: list[int]) -> None:
    one, other = sorted(one), sorted(other)
    agree = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        agree += 1
    # Logs agree up to a point and nowhere after, as terms of an index are unique.
    assume(all(mine != theirs for mine, theirs in zip(one[agree:], other[agree:], strict=False)))
    leader, follower = log(*one), log(*other)
    prev = leader.last_index
    for _ in range(30):
        prev_term = leader.term_at(prev)
        assert prev_term is not None
        if follower.term_at(prev) == prev_term:
            break
        hint_index, hint_term = follower.agreement_hint(prev, prev_term)
        if hint_term:
            hint_index, _ = leader.agreement_hint(hint_index, hint_term)
        prev = min(prev - 1, hint_index)
        assert prev >= agree
    assert prev == agree
