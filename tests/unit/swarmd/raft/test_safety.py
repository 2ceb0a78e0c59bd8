"""Whether a change of the managers is wise."""

from __future__ import annotations

import pytest

from services.kit.errors import FailedPrecondition
from services.swarmd.raft.core.membership import Config, Member
from services.swarmd.raft.core.node import PeerStatus, Status
from services.swarmd.raft.core.progress import Pace
from services.swarmd.raft.core.safety import best_successor, caught_up, refuse_quorum_loss
from services.swarmd.raft.core.types import Role


def status(
    voters: int, learners: tuple[int, ...] = (), *, silent: tuple[int, ...] = (), **match: int
) -> Status:
    """Return what member 1 sees as the leader: who is silent, and how far others are (`m2=7`)."""
    ids = [*range(1, voters + 1), *learners]
    config = Config(
        members=tuple(Member(id=at) for at in ids), voters=tuple(range(1, voters + 1)), learners=learners
    )
    peers = tuple(
        PeerStatus(
            id=at,
            match=match.get(f"m{at}", 100),
            next=101,
            pace=Pace.REPLICATE,
            silent_ticks=99 * (at in silent),
        )
        for at in ids[1:]
    )
    return Status(
        id=1,
        role=Role.LEADER,
        term=2,
        vote=1,
        leader=1,
        first_index=1,
        last_index=100,
        stable=100,
        commit=100,
        applied=100,
        snapshot_index=0,
        config=config,
        transferee=0,
        peers=peers,
    )


@pytest.mark.parametrize(
    ("voters", "silent", "removed", "allowed"),
    [
        (3, (), 2, True),
        (3, (), 1, True),
        (3, (2,), 2, True),  # the dead one goes
        (3, (2,), 3, False),  # the living one goes, and the dead one is half of what is left
        (3, (2,), 1, False),
        (5, (2,), 3, True),
        (5, (2, 3), 2, True),
        (5, (2, 3), 4, False),
        (2, (), 2, True),
        (2, (2,), 2, True),
        (1, (), 1, True),  # refused elsewhere: it is the last
    ],
)
def test_quorum_loss(voters: int, silent: tuple[int, ...], removed: int, allowed: bool) -> None:
    seen = status(voters, silent=silent)
    if allowed:
        refuse_quorum_loss(seen, removed, silent_ticks_max=8)
    else:
        with pytest.raises(FailedPrecondition) as caught:
            refuse_quorum_loss(seen, removed, silent_ticks_max=8)
        assert caught.value.reason == "QUORUM_LOSS"


def test_a_learner_may_always_go() -> None:
    refuse_quorum_loss(status(3, (4,), silent=(2, 3)), 4, silent_ticks_max=8)


@pytest.mark.parametrize(
    ("seen", "ready"),
    [
        (status(3, (4,), m4=100), True),
        (status(3, (4,), m4=91), True),
        (status(3, (4,), m4=89), False),
        (status(3, (4,), m4=0), False),
        (status(3, (4,), silent=(4,)), False),
        (status(3), True),
    ],
)
def test_caught_up(seen: Status, ready: bool) -> None:
    assert caught_up(seen, 4, entries_max=10, silent_ticks_max=8) is ready


@pytest.mark.parametrize(
    ("seen", "successor"),
    [
        (status(3, m2=90, m3=95), 3),
        (status(3), 2),
        (status(3, silent=(2,)), 3),
        (status(2, (3,), m2=1), 2),
        (status(1), None),
    ],
)
def test_best_successor(seen: Status, successor: int | None) -> None:
    assert best_successor(seen) == successor
