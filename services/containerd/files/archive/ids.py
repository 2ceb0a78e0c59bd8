"""User and group ids as a container sees them, and as the host does."""

from __future__ import annotations

from dataclasses import dataclass

OVERFLOW_ID = 65534
"""What an id becomes that the container has no number for, as in the kernel."""
Range = tuple[int, int, int]
"""First id inside, first id outside, count: a line of /proc/<pid>/uid_map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """The mappings of a user namespace; without ranges, ids are the same on both sides."""

    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids as the container has them."""
        return _inside(self.uids, uid), _inside(self.gids, gid)

    def outside(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Return the container's ids as the host has them; None if one has no counterpart."""
        found = _outside(self.uids, uid), _outside(self.gids, gid)
        return None if found[0] is None or found[1] is None else (found[0], found[1])


IDENTITY = IdMap()


def _inside(ranges: tuple[Range, ...], number: int) -> int:
    for first_inside, first_outside, count in ranges:
        if first_outside <= number < first_outside + count:
            return number - first_outside + first_inside
    return OVERFLOW_ID if ranges else number


def _outside(ranges: tuple[Range, ...], number: int) -> int | None:
    for first_inside, first_outside, count in ranges:
        if first_inside <= number < first_inside + count:
            return number - first_inside + first_outside
    return None if ranges else number
