"""Who waits for what, and how each wait ends."""

from __future__ import annotations

import asyncio

import pytest

from services.kit import errors
from services.swarmd.raft.core.effects import Accepted
from services.swarmd.raft.shell.requests import Applied, Proposals, Reads


def failure(future: asyncio.Future[Applied]) -> str:
    error = future.exception()
    assert isinstance(error, errors.Unavailable)
    return error.reason


async def test_a_proposal_ends_with_its_entry() -> None:
    proposals = Proposals()
    future = proposals.open(7)
    proposals.accepted(Accepted(request_id=7, index=3, term=2))
    proposals.applied(2, 2, "another")
    assert not future.done()
    proposals.applied(3, 2, "result")
    assert future.result() == Applied(3, "result")


async def test_another_entry_in_its_place_means_that_it_never_happened() -> None:
    proposals = Proposals()
    future = proposals.open(7)
    proposals.accepted(Accepted(request_id=7, index=3, term=2))
    proposals.applied(3, 4, "another")
    assert failure(future) == "PROPOSAL_DROPPED"


async def test_an_own_entry_in_its_place_says_nothing() -> None:
    """The old one may be in other logs: should this leader fail, it may still come back."""
    proposals = Proposals()
    old, new = proposals.open(1), proposals.open(2)
    proposals.accepted(Accepted(request_id=1, index=3, term=2))
    proposals.accepted(Accepted(request_id=2, index=3, term=4))
    assert failure(old) == "LEADERSHIP_LOST"
    proposals.applied(3, 4, "new")
    assert new.result() == Applied(3, "new")


async def test_a_snapshot_in_its_place_says_nothing() -> None:
    proposals = Proposals()
    covered, beyond = proposals.open(1), proposals.open(2)
    proposals.accepted(Accepted(request_id=1, index=3, term=2))
    proposals.accepted(Accepted(request_id=2, index=4, term=2))
    proposals.overtaken(3)
    assert failure(covered) == "LEADERSHIP_LOST"
    assert not beyond.done()
    proposals.abandon()
    assert failure(beyond) == "LEADERSHIP_LOST"


async def test_nobody_is_told_who_has_given_up() -> None:
    proposals = Proposals()
    future = proposals.open(1)
    proposals.close(1)
    proposals.accepted(Accepted(request_id=1, index=3, term=2))
    proposals.applied(3, 2, "late")
    assert not future.done()
    assert len(proposals) == 0


async def test_a_read_waits_for_its_index_to_be_applied() -> None:
    reads = Reads()
    early, late = reads.open(1, tick=0), reads.open(2, tick=0)
    reads.ready(1, index=5, applied=7)
    assert early.result() == 5
    reads.ready(2, index=9, applied=7)
    assert not late.done()
    reads.applied(8)
    assert not late.done()
    reads.applied(9)
    assert late.result() == 9


async def test_reads_without_an_answer_are_asked_for_again() -> None:
    reads = Reads()
    reads.open(1, tick=0)
    reads.open(2, tick=3)
    reads.open(3, tick=0)
    reads.ready(3, index=99, applied=0)
    assert reads.overdue(2, tick=6) == [1], "the second is young, the third has its answer"
    assert reads.overdue(2, tick=7) == []


async def test_a_second_answer_changes_nothing() -> None:
    reads = Reads()
    future = reads.open(1, tick=0)
    reads.ready(1, index=5, applied=0)
    reads.ready(1, index=2, applied=3)
    assert not future.done(), "the first answer was 5"


@pytest.mark.parametrize("reason", ["NO_LEADER", "SHUTTING_DOWN"])
async def test_all_fail_together(reason: str) -> None:
    reads = Reads()
    futures = [reads.open(number, tick=0) for number in range(3)]
    reads.fail_all(errors.Unavailable("gone", reason=reason))
    for future in futures:
        with pytest.raises(errors.Unavailable):
            await future
