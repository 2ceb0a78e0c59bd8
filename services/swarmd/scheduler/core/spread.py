"""Which of the nodes that will do is best: spread. Pure.

The best node is the one, in this order, where fewer tasks like these have failed of late (if any has seen at least
`FAILURES_MIN`), where fewer tasks of the service are, where fewer tasks are at all, where less of what can be reserved
is reserved. Preferences come before that: a tree with a level for each label, whose branches are filled evenly.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.swarmd.scheduler.core.demand import Demand
    from services.swarmd.scheduler.core.fleet import Fleet, NodeUsage

FAILURES_MIN = 5

Rank: TypeAlias = tuple[int, int, int, float, str]
"""Smaller is better; the id of the node makes it unique."""

Take: TypeAlias = "Callable[[NodeUsage], bool]"
"""Puts a task on a node; says whether the node will do for another one like it."""

_NODE_LABELS = "node.labels."
_ENGINE_LABELS = "engine.labels."


def rank(fleet: Fleet, demand: Demand, usage: NodeUsage, now: float) -> Rank:
    """Return the rank of a node for tasks that ask for so much."""
    failures = fleet.failures(usage.node.id, demand, now)
    return (
        failures if failures >= FAILURES_MIN else 0,
        usage.active_by_service[demand.service_id],
        usage.active,
        _reserved_share(usage),
        usage.node.id,
    )


def _reserved_share(usage: NodeUsage) -> float:
    """Return the share of a node's memory or processors that is reserved, whichever is more."""
    total, room = usage.node.resources, usage.room
    memory = 1 - room.memory_bytes / total.memory_bytes if total.memory_bytes else 0.0
    cpus = 1 - room.nano_cpus / total.nano_cpus if total.nano_cpus else 0.0
    return max(memory, cpus)


class Leaf:
    """Nodes among which only their ranks decide."""

    def __init__(self, candidates: Iterable[NodeUsage], ranked: Callable[[NodeUsage], Rank]) -> None:
        self._ranked = ranked
        self._heap = [(ranked(usage), usage) for usage in candidates]
        heapq.heapify(self._heap)

    @property
    def best(self) -> Rank | None:
        """The rank of the best node; None if there is none left."""
        return self._heap[0][0] if self._heap else None

    def place(self, take: Take) -> NodeUsage:
        """Put one task on the best node. There must be one."""
        _, usage = self._heap[0]
        if take(usage):
            heapq.heapreplace(self._heap, (self._ranked(usage), usage))
        else:
            heapq.heappop(self._heap)
        return usage


class Branches:
    """The values of one label: the branch with the fewest tasks of the service comes next.

    Args:
        branches: Each with the number of tasks of the service on all of its nodes, also on those that will not do.
    """

    def __init__(self, branches: Iterable[tuple[int, Tree]]) -> None:
        self._heap = [(count, best, tree) for count, tree in branches if (best := tree.best) is not None]
        heapq.heapify(self._heap)

    @property
    def best(self) -> Rank | None:
        """The rank of the best node of the branch that comes next; None if all are full."""
        return self._heap[0][1] if self._heap else None

    def place(self, take: Take) -> NodeUsage:
        """Put one task into the branch that comes next. There must be one."""
        count, _, tree = self._heap[0]
        usage = tree.place(take)
        best = tree.best
        if best is None:
            heapq.heappop(self._heap)
        else:
            heapq.heapreplace(self._heap, (count + 1, best, tree))
        return usage


Tree: TypeAlias = Leaf | Branches


def grow(
    fleet: Fleet, demand: Demand, usages: Sequence[NodeUsage], passes: Callable[[NodeUsage], bool], now: float
) -> Tree:
    """Return the tree in which tasks are placed.

    Args:
        fleet: All nodes.
        demand: What the tasks ask for.
        usages: The nodes of the fleet.
        passes: Whether a node will do.
        now: The leader's time.
    """

    def ranked(usage: NodeUsage) -> Rank:
        return rank(fleet, demand, usage, now)

    def subtree(members: Sequence[NodeUsage], keys: Sequence[str]) -> Tree:
        if not keys:
            return Leaf((usage for usage in members if passes(usage)), ranked)
        by_value: dict[str, list[NodeUsage]] = {}
        for usage in members:
            by_value.setdefault(_label(usage, keys[0]), []).append(usage)
        return Branches(
            (sum(usage.active_by_service[demand.service_id] for usage in branch), subtree(branch, keys[1:]))
            for _, branch in sorted(by_value.items())
        )

    return subtree(usages, [key for key in demand.spread_over if _is_label(key)])


def _is_label(key: str) -> bool:
    lowered = key.lower()
    return lowered.startswith((_NODE_LABELS, _ENGINE_LABELS))


def _label(usage: NodeUsage, key: str) -> str:
    """Return the value of a label; a node without it is in the branch ""."""
    if key.lower().startswith(_NODE_LABELS):
        return usage.node.labels.get(key[len(_NODE_LABELS) :], "")
    return usage.node.engine_labels.get(key[len(_ENGINE_LABELS) :], "")
