"""Which of the nodes that will do is best: spread. Pure.

The best node is the one, in this order, where fewer tasks like these have failed of late (if any has seen at least
`FAILURES_MIN`), where fewer tasks of the service are, where fewer tasks are at all, where less of what can be reserved
is reserved. Preferences come before that: a tree with a level for each label, whose branches are filled evenly.

Most nodes have no task of the service and no failure: their load alone ranks them, and the fleet keeps them in that
order. So a few tasks are placed among thousands of nodes by looking at a few of these.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from services.swarmd.scheduler.core.demand import Demand
    from services.swarmd.scheduler.core.fleet import Fleet, Load, NodeUsage

FAILURES_MIN = 5

Rank: TypeAlias = "tuple[int, int, Load]"
"""Failures, active tasks of the service, load; smaller is better."""

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
        usage.load,
    )


class Leaf:
    """Nodes among which only their ranks decide.

    Args:
        peculiar: Nodes that will do, in any order, whose rank is not their load alone.
        plain: Nodes that will do, the least loaded first, without tasks of the service and without failures.
        ranked: Returns the rank of a node.
    """

    def __init__(
        self, peculiar: Iterable[NodeUsage], plain: Iterator[NodeUsage], ranked: Callable[[NodeUsage], Rank]
    ) -> None:
        self._ranked = ranked
        self._heap = [(ranked(usage), usage) for usage in peculiar]
        heapq.heapify(self._heap)
        self._plain = plain
        self._draw()

    @property
    def best(self) -> Rank | None:
        """The rank of the best node; None if there is none left."""
        return self._heap[0][0] if self._heap else None

    def place(self, take: Take) -> NodeUsage:
        """Put one task on the best node. There must be one."""
        _, usage = self._heap[0]
        drawn = usage is self._drawn
        if take(usage):
            heapq.heapreplace(self._heap, (self._ranked(usage), usage))
        else:
            heapq.heappop(self._heap)
        if drawn:
            self._draw()
        return usage

    def _draw(self) -> None:
        """Let the next plain node compete: the best of them stands for the rest."""
        self._drawn = next(self._plain, None)
        if self._drawn is not None:
            heapq.heappush(self._heap, (self._ranked(self._drawn), self._drawn))


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


def grow(fleet: Fleet, demand: Demand, passes: Callable[[NodeUsage], bool], now: float) -> Tree:
    """Return the tree in which tasks are placed.

    Args:
        fleet: All nodes.
        demand: What the tasks ask for.
        passes: Whether a node will do.
        now: The leader's time.
    """
    peculiar = fleet.peculiar(demand)
    peculiar_ids = {usage.node.id for usage in peculiar}

    def ranked(usage: NodeUsage) -> Rank:
        return rank(fleet, demand, usage, now)

    def leaf(members: Sequence[NodeUsage]) -> Leaf:
        return Leaf(
            (usage for usage in members if usage.node.id in peculiar_ids and passes(usage)),
            (usage for usage in members if usage.node.id not in peculiar_ids and passes(usage)),
            ranked,
        )

    def subtree(members: Sequence[NodeUsage], keys: Sequence[str]) -> Tree:
        if not keys:
            return leaf(members)
        by_value: dict[str, list[NodeUsage]] = {}
        for usage in members:
            by_value.setdefault(_label(usage, keys[0]), []).append(usage)
        return Branches(
            (sum(usage.active_by_service[demand.service_id] for usage in branch), subtree(branch, keys[1:]))
            for _, branch in sorted(by_value.items())
        )

    keys = [key for key in demand.spread_over if _is_label(key)]
    if keys:
        return subtree(fleet.by_load(), keys)
    plain = (usage for usage in fleet.by_load() if usage.node.id not in peculiar_ids and passes(usage))
    return Leaf((usage for usage in peculiar if passes(usage)), plain, ranked)


def _is_label(key: str) -> bool:
    return key.lower().startswith((_NODE_LABELS, _ENGINE_LABELS))


def _label(usage: NodeUsage, key: str) -> str:
    """Return the value of a label; a node without it is in the branch ""."""
    if key.lower().startswith(_NODE_LABELS):
        return usage.node.labels.get(key[len(_NODE_LABELS) :], "")
    return usage.node.engine_labels.get(key[len(_ENGINE_LABELS) :], "")
