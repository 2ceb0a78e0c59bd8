"""What the membership of the swarm needs of raft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.members.roles import MemberFacts


class Consensus(Protocol):
    """Raft's membership, on the leader. `services.swarmd.manager` has the implementation.

    Changes return when they are committed. They raise FailedPrecondition NOT_LEADER on others, Unavailable when it is
    not known whether they happened.
    """

    @property
    def raft_id(self) -> int:
        """Id of this member."""
        ...

    def members(self) -> Sequence[MemberFacts]:
        """Return the members, by raft id; on a manager that does not lead, nobody is known to be reachable."""
        ...

    async def add_learner(self, raft_id: int, node_id: str, address: str) -> None:
        """Let a new member receive the log."""
        ...

    async def promote(self, raft_id: int) -> None:
        """Give a learner its vote."""
        ...

    async def remove(self, raft_id: int) -> None:
        """Take a member out."""
        ...

    async def readdress(self, raft_id: int, address: str) -> None:
        """Change where a member listens."""
        ...

    async def hand_over(self, raft_id: int) -> None:
        """Transfer the leadership; return when this member does not lead any more, or the attempt was given up."""
        ...
