"""Leadership as the servicers of a manager see it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.swarmd.gateway.leadership import ELECTION_GRACE_S, Leadership
from services.swarmd.gateway.ports import NodePlace

ME = NodePlace(node_id="m1", address="10.0.0.1:2377")
OTHER = NodePlace(node_id="m2", address="10.0.0.2:2377")
DEFAULT = control_pb2.CONSISTENCY_UNSPECIFIED
LINEARIZABLE = control_pb2.CONSISTENCY_LINEARIZABLE
STALE = control_pb2.CONSISTENCY_STALE


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Raft:
    """Answers reads, or does not."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answers = True
        self.asked = 0
        self.leadership = Leadership(
            self_node_id="m1", read_index=self.read_index, changed=lambda: None, clock=self.clock
        )

    async def read_index(self) -> None:
        self.asked += 1
        if not self.answers:
            raise errors.Unavailable("no quorum", reason="TIMEOUT")


async def test_a_read_waits_for_the_proof_that_there_is_a_leader() -> None:
    raft = Raft()
    raft.leadership.update(leading=True, leader=ME)
    assert await raft.leadership.read_barrier(DEFAULT) is False
    assert await raft.leadership.read_barrier(LINEARIZABLE) is False
    assert raft.asked == 2
    assert await raft.leadership.read_barrier(STALE) is False
    assert raft.asked == 2


@pytest.mark.parametrize("leader", [None, OTHER])
async def test_without_that_proof_a_read_says_that_it_may_be_old(leader: NodePlace | None) -> None:
    raft = Raft()
    raft.answers = False
    raft.leadership.update(leading=False, leader=leader)
    assert await raft.leadership.read_barrier(DEFAULT) is True
    with pytest.raises(errors.Unavailable) as refused:
        await raft.leadership.read_barrier(LINEARIZABLE)
    assert refused.value.reason == "NO_LEADER"
    assert await raft.leadership.read_barrier(STALE) is (leader is None)


async def test_only_the_leader_is_let_through() -> None:
    raft = Raft()
    with pytest.raises(errors.Unavailable) as refused:
        raft.leadership.require_leading()
    assert refused.value.reason == "NO_LEADER"
    raft.leadership.update(leading=False, leader=OTHER)
    with pytest.raises(errors.FailedPrecondition) as redirected:
        raft.leadership.require_leading()
    assert redirected.value.metadata == {"leader_address": OTHER.address, "leader_node_id": "m2"}
    raft.leadership.update(leading=True, leader=ME)
    raft.leadership.require_leading()


async def test_after_the_loss_of_a_leader_a_new_one_is_expected_for_a_while() -> None:
    raft = Raft()
    raft.leadership.update(leading=False, leader=OTHER)
    raft.clock.at += 1000
    raft.leadership.update(leading=False, leader=None)
    assert raft.leadership.situation().may_soon_lead
    raft.clock.at += ELECTION_GRACE_S
    assert not raft.leadership.situation().may_soon_lead


async def test_one_who_was_just_elected_does_not_serve_yet() -> None:
    raft = Raft()
    raft.leadership.update(leading=False, leader=ME)
    situation = raft.leadership.situation()
    assert (situation.leading, situation.leader, situation.may_soon_lead) == (False, None, True)
    with pytest.raises(errors.Unavailable):
        raft.leadership.require_leading()


async def test_changes_are_told() -> None:
    raft = Raft()
    waiting = asyncio.get_running_loop().create_task(raft.leadership.changed())
    await asyncio.sleep(0)
    raft.leadership.update(leading=False, leader=None)  # nothing new
    await asyncio.sleep(0)
    assert not waiting.done()
    raft.leadership.update(leading=False, leader=OTHER)
    await waiting
