"""Majorities, against an implementation that is too dumb to be wrong: it tries every set of voters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarmd.raft.core.membership import Config, Member
from services.swarmd.raft.core.quorum import Verdict, agreed_index, has_quorum, majority, verdict

voters = st.sets(st.integers(1, 9), max_size=7)


def config(ids: set[int], outgoing: set[int] = frozenset()) -> Config:  # type: ignore[assignment]
    return Config(
        members=tuple(Member(id=at) for at in sorted(ids | outgoing)),
        voters=tuple(sorted(ids)),
        outgoing=tuple(sorted(outgoing)),
    )


def quorums(ids: set[int]) -> list[set[int]]:
    """Every set of voters that makes a majority; of nobody, the empty set does."""
    subsets = itertools.chain.from_iterable(itertools.combinations(ids, n) for n in range(len(ids) + 1))
    return [set(subset) for subset in subsets if 2 * len(subset) > len(ids) or not ids]


def dumb_index(of: Config, acked: Mapping[int, int]) -> int:
    if not of.voters:
        return 0
    halves = [quorums(set(of.voters)), quorums(set(of.outgoing))]
    return max(
        min((acked.get(voter, 0) for voter in one | other), default=0)
        for one in halves[0]
        for other in halves[1]
    )


def dumb_verdict(of: Config, votes: Mapping[int, bool]) -> Verdict:
    if not of.voters:
        return Verdict.LOST

    def won(given: Mapping[int, bool]) -> bool:
        yes = {voter for voter, granted in given.items() if granted}
        return all(any(quorum <= yes for quorum in quorums(set(half))) for half in (of.voters, of.outgoing))

    if won(votes):
        return Verdict.WON
    best_case = {**dict.fromkeys((*of.voters, *of.outgoing), True), **votes}
    return Verdict.PENDING if won(best_case) else Verdict.LOST


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half(count: int, needed: int) -> None:
    assert majority(range(count)) == needed


@pytest.mark.parametrize(
    ("ids", "outgoing", "acked", "index"),
    [
        ({1}, set(), {1: 12}, 12),
        ({1, 2}, set(), {1: 12, 2: 5}, 5),
        ({1, 2, 3}, set(), {1: 12, 2: 5, 3: 6}, 6),
        ({1, 2, 3}, set(), {1: 12}, 0),
        ({1, 2, 3, 4}, set(), {1: 9, 2: 8, 3: 7, 4: 6}, 7),
        (set(), set(), {1: 9}, 0),
        ({1, 2, 3}, {3, 4, 5}, {1: 9, 2: 9, 3: 3, 4: 4}, 3),
        ({1, 2, 3}, {4}, {1: 9, 2: 9, 3: 9, 4: 1}, 1),
    ],
)
def test_agreed_index(ids: set[int], outgoing: set[int], acked: dict[int, int], index: int) -> None:
    assert agreed_index(config(ids, outgoing), lambda voter: acked.get(voter, 0)) == index


@pytest.mark.parametrize(
    ("ids", "votes", "expected"),
    [
        ({1}, {}, Verdict.PENDING),
        ({1}, {1: True}, Verdict.WON),
        ({1}, {1: False}, Verdict.LOST),
        ({1, 2}, {1: True}, Verdict.PENDING),
        ({1, 2}, {1: False}, Verdict.LOST),
        ({1, 2, 3}, {1: True, 9: True}, Verdict.PENDING),
        ({1, 2, 3}, {1: True, 2: False}, Verdict.PENDING),
        ({1, 2, 3}, {1: False, 2: False}, Verdict.LOST),
        ({1, 2, 3, 4}, {1: True, 2: True}, Verdict.PENDING),
        ({1, 2, 3, 4}, {1: True, 2: True, 3: False, 4: False}, Verdict.LOST),
        (set(), {1: True}, Verdict.LOST),
    ],
)
def test_verdict(ids: set[int], votes: dict[int, bool], expected: Verdict) -> None:
    assert verdict(config(ids), votes) is expected


@given(voters, voters, st.dictionaries(st.integers(1, 9), st.integers(0, 20)))
def test_agreed_index_is_what_trying_every_set_gives(
    ids: set[int], outgoing: set[int], acked: dict[int, int]
) -> None:
    of = config(ids, outgoing)
    assert agreed_index(of, lambda voter: acked.get(voter, 0)) == dumb_index(of, acked)


@given(voters, voters, st.dictionaries(st.integers(1, 9), st.booleans()))
def test_verdict_is_what_trying_every_set_gives(
    ids: set[int], outgoing: set[int], votes: dict[int, bool]
) -> None:
    of = config(ids, outgoing)
    assert verdict(of, votes) is dumb_verdict(of, votes)


@given(voters, voters, st.sets(st.integers(1, 9)))
def test_a_quorum_lives_or_it_does_not(ids: set[int], outgoing: set[int], alive: set[int]) -> None:
    of = config(ids, outgoing)
    expected = dumb_verdict(of, {voter: voter in alive for voter in (*of.voters, *of.outgoing)})
    assert has_quorum(of, lambda voter: voter in alive) is (expected is Verdict.WON)
