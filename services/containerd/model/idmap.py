"""How the user and group ids of a container relate to those of the node: a run of them, moved by an offset."""

from __future__ import annotations

from dataclasses import dataclass

from services.kit.tar import ids as id_maps

ID_NOBODY = 65_534
"""What the kernel shows for an owner that has no id inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """The ids of a user namespace, from 0 on, are as many ids of the node from `start` on, users and groups alike.

    It belongs to the container as long as its record exists. What the container's processes write into an overlay's
    upper directory carries the node's ids; whoever reads or writes there for the user translates.
    """

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first id of the node behind it."""
        return self.start + self.size

    def to_host(self, container_id: int) -> int:
        """Return the node's id of an id in the container; one that does not exist there is nobody's."""
        return self.start + (container_id if 0 <= container_id < self.size else min(ID_NOBODY, self.size - 1))

    def to_container(self, host_id: int) -> int:
        """Return the id that the container sees; `ID_NOBODY` for one that is not its own."""
        return host_id - self.start if self.holds(host_id) else ID_NOBODY

    def holds(self, host_id: int) -> bool:
        """Return whether an id of the node belongs to the container."""
        return self.start <= host_id < self.end

    def overlaps(self, other: IdMap) -> bool:
        """Return whether the two have an id of the node in common."""
        return self.start < other.end and other.start < self.end


def mapping(ids: IdMap | None) -> id_maps.IdMap:
    """Return how archives and copies translate the ids of a container; None stands for those of the node."""
    return id_maps.IDENTITY if ids is None else id_maps.of_range(ids.start, ids.size)
