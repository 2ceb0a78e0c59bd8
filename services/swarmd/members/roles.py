"""Who is a manager: from what users want and what is, the next steps of the leader. Pure.

The steps of a promotion: the node's role is granted → its next certificate is a manager's → it asks to join raft →
learner → voter. Of a demotion, in the opposite order, so that at no point somebody votes who is no manager: out of raft
→ the role is taken → its next certificate is a worker's. Every step starts from what is there, so that a leader that
was just elected goes on where the last one stopped.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, TypeAlias

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

LAST_MANAGER_MESSAGE: Final = "attempting to demote the last manager of the swarm"
QUORUM_MESSAGE: Final = "can't remove member from the raft: this would result in a loss of quorum"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """A node, as far as its role goes."""

    node_id: str
    wants_manager: bool
    """The role that the user set."""
    is_manager: bool
    """The role that is granted: what its next certificate says."""
    raft_id: int
    """The raft id that its object shows; 0 is none."""
    address: str
    """The address that its object shows as a manager's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """A member of raft."""

    raft_id: int
    node_id: str
    address: str
    voter: bool
    reachable: bool
    """The leader has heard it within an election timeout; it hears itself."""
    caught_up: bool
    """Its log is about as long as the leader's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """Give a node the role of a manager."""

    node_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the role from a node that is no member of raft any more."""

    node_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Promote:
    """Give a learner its vote."""

    raft_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Take a member out of raft."""

    raft_id: int
    node_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class HandOver:
    """Transfer the leadership, because the leader itself is to go."""

    raft_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Show:
    """Write a member's place in raft into its node's object."""

    node_id: str
    raft_id: int
    address: str


Step: TypeAlias = Grant | Withdraw | Promote | Remove | HandOver | Show


def plan(nodes: Sequence[NodeFacts], members: Sequence[MemberFacts], self_raft_id: int) -> list[Step]:
    """Return what to do now; of the changes of raft's membership at most one, as they go one at a time."""
    steps: list[Step] = list(_node_steps(nodes, members))
    change = _membership_step(nodes, members, self_raft_id)
    if change is not None:
        steps.append(change)
    return steps


def check_removal(members: Sequence[MemberFacts], raft_id: int) -> None:
    """Return if a member may be taken out without endangering the quorum.

    Raises:
        errors.FailedPrecondition: LAST_MANAGER, QUORUM_AT_RISK.
    """
    voters = [member for member in members if member.voter]
    leaving = next((member for member in voters if member.raft_id == raft_id), None)
    if leaving is None:
        return
    rest = [member for member in voters if member.raft_id != raft_id]
    if not rest:
        raise errors.FailedPrecondition(LAST_MANAGER_MESSAGE, reason="LAST_MANAGER")
    reachable = sum(member.reachable for member in rest)
    if reachable < len(rest) // 2 + 1:
        raise errors.FailedPrecondition(
            f"{QUORUM_MESSAGE}: of the {len(rest)} managers that would be left, {reachable} can be reached",
            reason="QUORUM_AT_RISK",
            metadata={"managers": str(len(rest)), "reachable": str(reachable)},
        )


def may_remove(members: Sequence[MemberFacts], raft_id: int) -> bool:
    """Return whether `check_removal` finds nothing against it."""
    try:
        check_removal(members, raft_id)
    except errors.FailedPrecondition:
        return False
    return True


def successor(members: Sequence[MemberFacts], self_raft_id: int) -> int | None:
    """Return the voter that can take over the leadership."""
    fit = [
        member.raft_id
        for member in members
        if member.voter and member.reachable and member.caught_up and member.raft_id != self_raft_id
    ]
    return min(fit, default=None)


def _node_steps(nodes: Sequence[NodeFacts], members: Sequence[MemberFacts]) -> Iterator[Step]:
    by_node = {member.node_id: member for member in members}
    for node in nodes:
        member = by_node.get(node.node_id)
        if node.wants_manager and not node.is_manager:
            yield Grant(node.node_id)
        elif not node.wants_manager and node.is_manager and member is None:
            yield Withdraw(node.node_id)
        shown = (node.raft_id, node.address)
        actual = (member.raft_id, member.address) if member is not None else (0, "")
        if shown != actual:
            yield Show(node.node_id, *actual)


def _membership_step(
    nodes: Sequence[NodeFacts], members: Sequence[MemberFacts], self_raft_id: int
) -> Step | None:
    wanted = {node.node_id for node in nodes if node.wants_manager}
    leaving = [member for member in members if member.node_id not in wanted]
    # Learners first: they cost nothing. The leader last: then the others are gone without an election.
    leaving.sort(key=lambda member: (member.voter, member.raft_id == self_raft_id, member.raft_id))
    for member in leaving:
        if not may_remove(members, member.raft_id):
            continue
        if member.raft_id != self_raft_id:
            return Remove(member.raft_id, member.node_id)
        heir = successor([other for other in members if other.node_id in wanted], self_raft_id)
        if heir is not None:
            return HandOver(heir)
    for member in members:
        if not member.voter and member.caught_up and member.reachable and member.node_id in wanted:
            return Promote(member.raft_id)
    return None


def unremovable(nodes: Collection[NodeFacts], members: Sequence[MemberFacts]) -> list[str]:
    """Return the nodes that users want no longer as managers, and that must stay until others are back."""
    wanted = {node.node_id for node in nodes if node.wants_manager}
    return [
        member.node_id
        for member in members
        if member.node_id not in wanted and not may_remove(members, member.raft_id)
    ]
