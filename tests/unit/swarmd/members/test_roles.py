"""Promotion and demotion, step by step, and what must not be done to the quorum."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.swarmd.members import roles
from services.swarmd.members.roles import (
    Grant,
    HandOver,
    MemberFacts,
    NodeFacts,
    Promote,
    Remove,
    Show,
    Withdraw,
)


def _member(raft_id: int, **facts: object) -> MemberFacts:
    base = MemberFacts(
        raft_id=raft_id,
        node_id=f"n{raft_id}",
        address=f"10.0.0.{raft_id}:2377",
        voter=True,
        reachable=True,
        caught_up=True,
    )
    return replace(base, **facts)


def _node(number: int, *, wants: bool, manages: bool, raft_id: int | None = None) -> NodeFacts:
    raft_id = (number if manages else 0) if raft_id is None else raft_id
    return NodeFacts(
        node_id=f"n{number}",
        wants_manager=wants,
        is_manager=manages,
        raft_id=raft_id,
        address=f"10.0.0.{raft_id}:2377" if raft_id else "",
    )


THREE = [_node(i, wants=True, manages=True) for i in (1, 2, 3)]
MEMBERS = [_member(i) for i in (1, 2, 3)]


def test_nothing_is_done_when_all_is_as_wanted() -> None:
    assert roles.plan(THREE, MEMBERS, 1) == []


def test_a_promotion_goes_from_the_role_to_the_vote() -> None:
    wanted = _node(4, wants=True, manages=False)
    assert roles.plan([*THREE, wanted], MEMBERS, 1) == [Grant("n4")]
    granted = _node(4, wants=True, manages=True, raft_id=0)
    assert roles.plan([*THREE, granted], MEMBERS, 1) == []  # it comes by itself, with its new certificate
    learner = _member(4, voter=False, caught_up=False)
    assert roles.plan([*THREE, granted], [*MEMBERS, learner], 1) == [Show("n4", 4, "10.0.0.4:2377")]
    shown = _node(4, wants=True, manages=True)
    assert roles.plan([*THREE, shown], [*MEMBERS, learner], 1) == []
    assert roles.plan([*THREE, shown], [*MEMBERS, replace(learner, caught_up=True)], 1) == [Promote(4)]


def test_a_demotion_goes_from_the_vote_to_the_role() -> None:
    nodes = [*THREE[:2], _node(3, wants=False, manages=True)]
    assert roles.plan(nodes, MEMBERS, 1) == [Remove(3, "n3")]
    assert roles.plan(nodes, MEMBERS[:2], 1) == [Withdraw("n3"), Show("n3", 0, "")]
    assert roles.plan([*THREE[:2], _node(3, wants=False, manages=False)], MEMBERS[:2], 1) == []


def test_a_leader_hands_over_before_it_goes() -> None:
    nodes = [_node(1, wants=False, manages=True), *THREE[1:]]
    assert roles.plan(nodes, MEMBERS, 1) == [HandOver(2)]
    behind = [MEMBERS[0], replace(MEMBERS[1], caught_up=False), MEMBERS[2]]
    assert roles.plan(nodes, behind, 1) == [HandOver(3)]
    assert roles.plan(nodes, MEMBERS, 2) == [Remove(1, "n1")]


def test_it_hands_over_to_somebody_who_stays() -> None:
    nodes = [_node(1, wants=False, manages=True), _node(2, wants=False, manages=True), THREE[2]]
    assert roles.plan(nodes, MEMBERS, 1) == [Remove(2, "n2")]
    assert roles.plan(nodes, [MEMBERS[0], MEMBERS[2]], 1) == [Withdraw("n2"), Show("n2", 0, ""), HandOver(3)]


def test_members_of_nodes_that_are_gone_are_taken_out() -> None:
    assert roles.plan(THREE[:2], MEMBERS, 1) == [Remove(3, "n3")]


def test_a_demotion_waits_as_long_as_it_would_cost_the_quorum() -> None:
    nodes = [THREE[0], _node(2, wants=False, manages=True), THREE[2]]
    one_away = [MEMBERS[0], MEMBERS[1], replace(MEMBERS[2], reachable=False)]
    assert roles.plan(nodes, one_away, 1) == []
    assert roles.unremovable(nodes, one_away) == ["n2"]
    with pytest.raises(errors.FailedPrecondition, match="loss of quorum") as refused:
        roles.check_removal(one_away, 2)
    assert refused.value.reason == "QUORUM_AT_RISK"
    roles.check_removal(one_away, 3)  # the one that is away may go


def test_the_last_manager_stays() -> None:
    with pytest.raises(errors.FailedPrecondition, match="last manager of the swarm") as refused:
        roles.check_removal(MEMBERS[:1], 1)
    assert refused.value.reason == "LAST_MANAGER"
    assert roles.plan([_node(1, wants=False, manages=True)], MEMBERS[:1], 1) == []


@given(st.data())
def test_no_plan_ever_costs_the_quorum(data: st.DataObject) -> None:
    """Whatever is wanted: after the step a majority of the voters can be reached, if one could before."""
    members = [
        _member(i, voter=data.draw(st.booleans()), reachable=data.draw(st.booleans()) or i == 1)
        for i in range(1, data.draw(st.integers(1, 6)) + 1)
    ]
    members[0] = replace(members[0], voter=True)
    nodes = [_node(i, wants=data.draw(st.booleans()), manages=True) for i in range(1, 7)]
    voters = {member.raft_id for member in members if member.voter}
    reachable = {member.raft_id for member in members if member.reachable}
    if len(voters & reachable) <= len(voters) // 2:
        return
    for step in roles.plan(nodes, members, 1):
        match step:
            case Remove(raft_id):
                voters.discard(raft_id)
                assert raft_id != 1
            case Promote(raft_id):
                voters.add(raft_id)
    assert voters
    assert len(voters & reachable) > len(voters) // 2
