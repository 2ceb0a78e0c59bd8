"""Rounds of reads: one under way, the next one gathers what comes meanwhile."""

from __future__ import annotations

import pytest

from services.swarmd.raft.core.reads import Read, ReadRounds


def read(request_id: int) -> Read:
    return Read(asker=1, request_id=request_id, index=request_id)


def test_a_round_serves_the_reads_before_it() -> None:
    rounds = ReadRounds()
    assert not rounds.begin(), "nobody reads"
    rounds.add(read(1))
    rounds.add(read(2))
    assert rounds.begin()
    assert rounds.round == 1
    rounds.add(read(3))
    assert not rounds.begin(), "one is under way"
    assert rounds.confirm(1) == [read(1), read(2)]
    assert rounds.begin()
    assert rounds.confirm(1) == [], "the answers to the first do not confirm the second"
    assert rounds.confirm(2) == [read(3)]
    assert len(rounds) == 0


def test_a_confirmation_counts_once() -> None:
    rounds = ReadRounds()
    rounds.add(read(1))
    rounds.begin()
    assert rounds.confirm(0) == []
    assert rounds.confirm(1) == [read(1)]
    assert rounds.confirm(1) == []


def test_a_round_that_did_not_begin_is_not_confirmed() -> None:
    with pytest.raises(AssertionError):
        ReadRounds().confirm(1)


def test_dropped_reads_are_returned() -> None:
    rounds = ReadRounds()
    rounds.add(read(1))
    rounds.begin()
    rounds.add(read(2))
    assert rounds.drop() == [read(1), read(2)]
    assert len(rounds) == 0
    assert rounds.confirm(1) == []
