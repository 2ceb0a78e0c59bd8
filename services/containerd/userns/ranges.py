"""Which ids of the node are there for containers, and which of them the next container gets. Pure.

The first `REMAP_SIZE` ids of the pool belong to `--userns=remap`, which all such containers share, as with Docker's
remapping. Every `--userns=auto` container gets a run of its own from the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.containerd.model.idmap import IdMap
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REMAP_SIZE = 65_536
AUTO_SIZE_DEFAULT = 65_536
AUTO_SIZE_MIN = 1_024
"""Less would not hold the ids that distributions give to their own users."""
ID_MAX = (1 << 32) - 2
"""The kernel keeps the last one for "no id"."""
ID_HOST_MAX = 65_535
"""Ids up to here are the node's own users and services: no container may get one."""

_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})")


def parse(text: str) -> tuple[IdMap, ...]:
    """Return the ranges of the setting, such as "1000000-2147483647" or two of these with a comma.

    Raises:
        errors.Invalid: It is not that, or contains ids of the node's own users.
    """
    found: list[IdMap] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise _invalid(f"{part.strip()!r} is not a range of ids like 1000000-2147483647")
        first, last = int(match[1]), int(match[2])
        if last < first or last > ID_MAX:
            raise _invalid(f"the range {part.strip()} runs backwards or past {ID_MAX}")
        if first <= ID_HOST_MAX:
            raise _invalid(f"the range {part.strip()} contains ids of the node itself (0 to {ID_HOST_MAX})")
        found.append(IdMap(start=first, size=last - first + 1))
    return union(found)


def parse_subordinate(text: str, user: str) -> tuple[IdMap, ...]:
    """Return what /etc/subuid or /etc/subgid give to a user: `name:start:count` a line; others' lines are skipped."""
    found: list[IdMap] = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] == user and fields[1].isdecimal() and fields[2].isdecimal():
            start, size = int(fields[1]), int(fields[2])
            if ID_HOST_MAX < start and size > 0 and start + size - 1 <= ID_MAX:
                found.append(IdMap(start=start, size=size))
    return union(found)


def union(ranges: Iterable[IdMap]) -> tuple[IdMap, ...]:
    """Return the same ids as ranges that neither overlap nor touch, in order."""
    merged: list[IdMap] = []
    for part in sorted(ranges, key=lambda part: part.start):
        if merged and part.start <= merged[-1].end:
            last = merged.pop()
            merged.append(IdMap(start=last.start, size=max(last.end, part.end) - last.start))
        else:
            merged.append(part)
    return tuple(merged)


def intersection(users: Sequence[IdMap], groups: Sequence[IdMap]) -> tuple[IdMap, ...]:
    """Return the ids that are in both: a container's users and groups get the same run."""
    common = (
        IdMap(start=start, size=end - start)
        for one in users
        for other in groups
        if (start := max(one.start, other.start)) < (end := min(one.end, other.end))
    )
    return union(common)


def remap(pool: Sequence[IdMap]) -> IdMap:
    """Return the run that all containers with `--userns=remap` share.

    Raises:
        errors.FailedPrecondition: There are no ids for containers.
    """
    first = _first(pool)
    return IdMap(start=first.start, size=min(first.size, REMAP_SIZE))


def allocate(pool: Sequence[IdMap], taken: Iterable[IdMap], size: int) -> IdMap:
    """Return the first free run of `size` ids.

    Raises:
        errors.FailedPrecondition: There are no ids for containers.
        errors.Exhausted: No such run is free (USERNS_EXHAUSTED).
    """
    _first(pool)
    for free in _gaps(pool, [remap(pool), *taken]):
        if free.size >= size:
            return IdMap(start=free.start, size=size)
    total = sum(part.size for part in pool)
    raise errors.Exhausted(
        f"no {size} ids in a row are free for a user namespace (of {total}): remove containers that have some, ask for"
        " fewer with --userns=auto:size=N, or give this node more (`userns_range`)",
        reason="USERNS_EXHAUSTED",
    )


def _gaps(pool: Sequence[IdMap], taken: Iterable[IdMap]) -> Iterator[IdMap]:
    used = union(taken)
    for part in pool:
        position = part.start
        for held in used:
            if held.end <= position or held.start >= part.end:
                continue
            if held.start > position:
                yield IdMap(start=position, size=held.start - position)
            position = held.end
        if position < part.end:
            yield IdMap(start=position, size=part.end - position)


def _first(pool: Sequence[IdMap]) -> IdMap:
    if not pool:
        raise errors.FailedPrecondition(
            "this node has no ids for user namespaces: give the user whom the setting `userns_user` names (beeyard) a"
            " range in /etc/subuid and /etc/subgid, or set `userns_range`, and restart containerd",
            reason="USERNS_NO_IDS",
        )
    return pool[0]


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(f"userns_range: {message}", metadata={"key": "userns_range"})
