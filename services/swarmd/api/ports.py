"""What the API needs of the rest of a manager, besides the store and the ports of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kit.seams import Clock, NewId
    from services.swarmd.gateway.ports import CallerPort, LeaderPort
    from services.swarmd.members.roles import MemberFacts
    from services.swarmd.store.store import Store


class ImageResolver(Protocol):
    """Finds out which image a name stands for now."""

    async def resolve(self, reference: str, platform: str, /) -> str:
        """Return the digest of the manifest, "sha256:…", as the nodes of the swarm or a registry have it.

        Args:
            reference: A valid reference without a digest.
            platform: "linux/amd64"; empty is this node's own.

        Raises:
            errors.NotFound: IMAGE_NOT_FOUND: nobody has it.
            errors.BeeyardError: It could not be found out.
        """
        ...


class RaftMembers(Protocol):
    """The members of raft, as the leader knows them."""

    def members(self) -> Sequence[MemberFacts]:
        """Return them; on a manager that does not lead, nobody is known to be reachable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """What every servicer works on."""

    store: Store
    leader: LeaderPort
    callers: CallerPort
    clock: Clock
    new_id: NewId
