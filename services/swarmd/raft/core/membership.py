"""Who takes part in the consensus, and the changes of it that one log entry may make.

Rules:
* A configuration takes effect on a member as soon as it is **in its log**, committed or not, and is taken
  back when the entry is truncated (dissertation, 4.1). So it is a function of the log, and needs no storage
  of its own.
* One entry changes at most one voter, so that a majority before and a majority after always share a member.
  The type can hold the two halves of a joint configuration (`outgoing`); no change here makes one yet.
* A member's id is never used again after its removal; `removed` remembers the last ones, so that a member
  which slept through its removal can be told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, assert_never

from services.kit.errors import AlreadyExists, FailedPrecondition, Invalid, NotFound

ID_MAX: Final = (1 << 63) - 1
REMOVED_MAX: Final = 256
"""How many ids of removed members a configuration remembers, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of the consensus: its raft id, the node that it runs on, and where it listens."""

    id: int
    node_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration of the cluster. All tuples are sorted; every voter and learner is in `members`."""

    members: tuple[Member, ...] = ()
    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    """The voters of the old half of a joint configuration; empty outside of one."""
    removed: tuple[int, ...] = ()
    """The ids of the members removed last, in the order of removal; never to be used again."""
    _by_id: dict[int, Member] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("voters", "learners", "outgoing"):
            ids: tuple[int, ...] = getattr(self, name)
            assert ids == tuple(sorted(set(ids))), f"{name} {ids} are not sorted and distinct"
        self._by_id.update((member.id, member) for member in self.members)
        ids = tuple(member.id for member in self.members)
        assert ids == tuple(sorted({*self.voters, *self.learners, *self.outgoing})), (
            f"members {ids} are not the voters {self.voters} + {self.outgoing} and learners {self.learners}"
        )
        assert not set(self.voters) & set(self.learners), (
            f"voters {self.voters} and learners {self.learners} overlap"
        )

    def __contains__(self, member_id: int) -> bool:
        return member_id in self._by_id

    def is_voter(self, member_id: int) -> bool:
        """Tell whether this member counts in elections and commits."""
        return member_id in self.voters or member_id in self.outgoing

    def member(self, member_id: int) -> Member | None:
        """Return the member of this id, or None."""
        return self._by_id.get(member_id)


def of_voters(*members: Member) -> Config:
    """Return the configuration in which these members vote; the first one of a new cluster."""
    ordered = tuple(sorted(members, key=lambda member: member.id))
    return Config(members=ordered, voters=tuple(member.id for member in ordered))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLearner:
    """Let a new member receive the log without a vote; how every member begins."""

    member: Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Give a learner its vote."""

    member_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demote:
    """Take a voter's vote; it goes on receiving the log."""

    member_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Take a member out, voter or learner. Its id is never used again."""

    member_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Readdress:
    """Change where a member listens, and nothing else."""

    member_id: int
    address: str


Change: TypeAlias = AddLearner | Promote | Demote | Remove | Readdress


def apply_change(config: Config, change: Change) -> Config:
    """Return the configuration after `change`.

    Raises:
        AlreadyExists: The member to add is there already (reason MEMBER_EXISTS), or the id was used by a member
            that was removed (MEMBER_REMOVED).
        NotFound: There is no such member.
        FailedPrecondition: The member has that role already, or the change would take away the last voter.
        Invalid: The id is out of range.
    """
    assert not config.outgoing, "a joint configuration is left before the next change"
    match change:
        case AddLearner(member=member):
            return _add(config, member)
        case Promote(member_id=member_id):
            member = _existing(config, member_id)
            if member_id in config.voters:
                raise FailedPrecondition(f"member {_name(member)} votes already", reason="ALREADY_VOTER")
            voters = tuple(sorted((*config.voters, member_id)))
            return replace(config, voters=voters, learners=_without(config.learners, member_id))
        case Demote(member_id=member_id):
            member = _existing(config, member_id)
            if member_id in config.learners:
                raise FailedPrecondition(
                    f"member {_name(member)} has no vote to lose", reason="ALREADY_LEARNER"
                )
            learners = tuple(sorted((*config.learners, member_id)))
            return replace(config, voters=_fewer_voters(config, member), learners=learners)
        case Remove(member_id=member_id):
            member = _existing(config, member_id)
            voters = _fewer_voters(config, member) if member_id in config.voters else config.voters
            return replace(
                config,
                members=tuple(other for other in config.members if other.id != member_id),
                voters=voters,
                learners=_without(config.learners, member_id),
                removed=(*config.removed, member_id)[-REMOVED_MAX:],
            )
        case Readdress(member_id=member_id, address=address):
            moved = replace(_existing(config, member_id), address=address)
            members = tuple(moved if other.id == member_id else other for other in config.members)
            return replace(config, members=members)
        case _:
            assert_never(change)


def _add(config: Config, member: Member) -> Config:
    if not 0 < member.id <= ID_MAX:
        raise Invalid(f"member id {member.id} is not between 1 and {ID_MAX}", reason="MEMBER_ID_RANGE")
    if member.id in config:
        raise AlreadyExists(f"member {_name(member)} is in the cluster already", reason="MEMBER_EXISTS")
    if member.id in config.removed:
        raise AlreadyExists(
            f"member id {member.id:x} belonged to a member that was removed; join with a new one",
            reason="MEMBER_REMOVED",
        )
    members = tuple(sorted((*config.members, member), key=lambda other: other.id))
    return replace(config, members=members, learners=tuple(sorted((*config.learners, member.id))))


def _existing(config: Config, member_id: int) -> Member:
    member = config.member(member_id)
    if member is None:
        raise NotFound(f"no member of the cluster has the id {member_id:x}", reason="MEMBER_NOT_FOUND")
    return member


def _fewer_voters(config: Config, member: Member) -> tuple[int, ...]:
    if config.voters == (member.id,):
        raise FailedPrecondition(
            f"member {_name(member)} is the last voter; without it the cluster could decide nothing",
            reason="LAST_VOTER",
        )
    return _without(config.voters, member.id)


def _without(ids: tuple[int, ...], member_id: int) -> tuple[int, ...]:
    return tuple(other for other in ids if other != member_id)


def _name(member: Member) -> str:
    return f"{member.id:x} ({member.node_id})" if member.node_id else f"{member.id:x}"
