"""Changes of the members: tables, and any sequence of changes against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AlreadyExists, BeeyardError, FailedPrecondition, Invalid, NotFound
from services.swarmd.raft.core.membership import (
    ID_MAX,
    REMOVED_MAX,
    AddLearner,
    Change,
    Config,
    Demote,
    Member,
    Promote,
    Readdress,
    Remove,
    apply_change,
    of_voters,
)

THREE = of_voters(*(Member(id=at, node_id=f"n{at}", address=f"n{at}:1") for at in (3, 1, 2)))


def with_learner() -> Config:
    return apply_change(THREE, AddLearner(member=Member(id=4)))


def test_founders_vote() -> None:
    assert THREE.voters == (1, 2, 3)
    assert [member.id for member in THREE.members] == [1, 2, 3]


def test_a_member_comes_as_a_learner_and_is_promoted() -> None:
    config = with_learner()
    assert (config.voters, config.learners) == ((1, 2, 3), (4,))
    assert not config.is_voter(4)
    config = apply_change(config, Promote(member_id=4))
    assert (config.voters, config.learners) == ((1, 2, 3, 4), ())
    assert config.is_voter(4)


def test_a_voter_is_demoted_and_stays_a_member() -> None:
    config = apply_change(THREE, Demote(member_id=2))
    assert (config.voters, config.learners) == ((1, 3), (2,))
    assert 2 in config


@pytest.mark.parametrize("member_id", [3, 4])
def test_a_removed_member_is_remembered(member_id: int) -> None:
    config = apply_change(with_learner(), Remove(member_id=member_id))
    assert member_id not in config
    assert config.removed == (member_id,)
    with pytest.raises(AlreadyExists) as caught:
        apply_change(config, AddLearner(member=Member(id=member_id)))
    assert caught.value.reason == "MEMBER_REMOVED"


def test_only_the_last_removed_are_remembered() -> None:
    config = THREE
    for member_id in range(100, 101 + REMOVED_MAX):
        config = apply_change(config, AddLearner(member=Member(id=member_id)))
        config = apply_change(config, Remove(member_id=member_id))
    assert len(config.removed) == REMOVED_MAX
    assert config.removed[-1] == 100 + REMOVED_MAX


def test_a_member_moves() -> None:
    config = apply_change(THREE, Readdress(member_id=2, address="elsewhere:7"))
    assert config.member(2) == Member(id=2, node_id="n2", address="elsewhere:7")
    assert config.voters == THREE.voters


@pytest.mark.parametrize(
    ("config", "change", "error", "reason"),
    [
        (THREE, AddLearner(member=Member(id=2)), AlreadyExists, "MEMBER_EXISTS"),
        (THREE, AddLearner(member=Member(id=0)), Invalid, "MEMBER_ID_RANGE"),
        (THREE, AddLearner(member=Member(id=ID_MAX + 1)), Invalid, "MEMBER_ID_RANGE"),
        (THREE, Promote(member_id=9), NotFound, "MEMBER_NOT_FOUND"),
        (THREE, Promote(member_id=1), FailedPrecondition, "ALREADY_VOTER"),
        (THREE, Demote(member_id=9), NotFound, "MEMBER_NOT_FOUND"),
        (with_learner(), Demote(member_id=4), FailedPrecondition, "ALREADY_LEARNER"),
        (THREE, Remove(member_id=9), NotFound, "MEMBER_NOT_FOUND"),
        (THREE, Readdress(member_id=9, address="x"), NotFound, "MEMBER_NOT_FOUND"),
        (of_voters(Member(id=1)), Remove(member_id=1), FailedPrecondition, "LAST_VOTER"),
        (of_voters(Member(id=1)), Demote(member_id=1), FailedPrecondition, "LAST_VOTER"),
    ],
)
def test_refused(config: Config, change: Change, error: type[BeeyardError], reason: str) -> None:
    with pytest.raises(error) as caught:
        apply_change(config, change)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("voters", "learners", "members"),
    [((2, 1), (), (1, 2)), ((1,), (1,), (1,)), ((1,), (), (1, 2)), ((1, 2), (), (1,)), ((1, 1), (), (1,))],
)
def test_a_contradictory_configuration_cannot_be_made(
    voters: tuple[int, ...], learners: tuple[int, ...], members: tuple[int, ...]
) -> None:
    with pytest.raises(AssertionError):
        Config(members=tuple(Member(id=at) for at in members), voters=voters, learners=learners)


class Sets:
    """The dumb twin."""

    def __init__(self) -> None:
        self.voters = {1, 2, 3}
        self.learners: set[int] = set()
        self.removed: set[int] = set()

    def apply(self, change: Change) -> bool:
        """Do it, if it can be done."""
        match change:
            case AddLearner(member=member):
                if member.id in self.voters | self.learners | self.removed:
                    return False
                self.learners.add(member.id)
            case Promote(member_id=at):
                if at not in self.learners:
                    return False
                self.learners.remove(at)
                self.voters.add(at)
            case Demote(member_id=at):
                if at not in self.voters or len(self.voters) == 1:
                    return False
                self.voters.remove(at)
                self.learners.add(at)
            case Remove(member_id=at):
                if at not in self.voters | self.learners or self.voters == {at}:
                    return False
                self.voters.discard(at)
                self.learners.discard(at)
                self.removed.add(at)
            case Readdress(member_id=at):
                return at in self.voters | self.learners
        return True


ids = st.integers(1, 8)
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda at: AddLearner(member=Member(id=at)), ids),
    st.builds(lambda at: Promote(member_id=at), ids),
    st.builds(lambda at: Demote(member_id=at), ids),
    st.builds(lambda at: Remove(member_id=at), ids),
    st.builds(lambda at: Readdress(member_id=at, address=f"moved:{at}"), ids),
)


@given(st.lists(changes, max_size=40))
def test_any_changes_do_what_they_do_to_sets(sequence: list[Change]) -> None:
    config, sets = THREE, Sets()
    for change in sequence:
        before = config
        try:
            config = apply_change(config, change)
            done = True
        except BeeyardError:
            done = False
        assert done == sets.apply(change)
        assert set(config.voters) == sets.voters
        assert set(config.learners) == sets.learners
        assert set(config.removed) == sets.removed
        assert len(set(before.voters) ^ set(config.voters)) <= 1, "one voter at a time"
