"""Which nodes will do, and why the others will not. Pure.

Each filter can say in words what it refuses; the words are swarm's, which users search for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.swarmd.scheduler.core import constraints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.swarmd.scheduler.core.demand import Demand
    from services.swarmd.scheduler.core.fleet import NodeUsage


@dataclass(frozen=True, slots=True)
class Filter:
    """One reason for which a node will not do.

    Attributes:
        applies: Whether tasks that ask for so much can be refused by it at all.
        passes: Whether a node will do.
        explain: Says in words that so many nodes will not.
    """

    applies: Callable[[Demand], bool]
    passes: Callable[[Demand, NodeUsage], bool]
    explain: Callable[[int], str]


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _has_platform(demand: Demand, usage: NodeUsage) -> bool:
    node = usage.node
    return any(
        system in {"", node.os} and architecture in {"", node.architecture}
        for system, architecture in demand.platforms
    )


def _has_plugins(demand: Demand, usage: NodeUsage) -> bool:
    return not usage.node.plugins or demand.plugins <= usage.node.plugins


FILTERS: tuple[Filter, ...] = (
    Filter(
        applies=lambda _: True,
        passes=lambda _, usage: usage.node.ready,
        explain=lambda count: f"{_nodes(count)} not available for new tasks",
    ),
    Filter(
        applies=lambda demand: bool(demand.reservations),
        passes=lambda demand, usage: usage.room.fits(demand.reservations),
        explain=lambda count: f"insufficient resources on {_nodes(count)}",
    ),
    Filter(
        applies=lambda demand: bool(demand.plugins),
        passes=_has_plugins,
        explain=lambda count: f"missing plugin on {_nodes(count)}",
    ),
    Filter(
        applies=lambda demand: bool(demand.constraints),
        passes=lambda demand, usage: constraints.matches_all(demand.constraints, usage.node),
        explain=lambda count: f"scheduling constraints not satisfied on {_nodes(count)}",
    ),
    Filter(
        applies=lambda demand: bool(demand.platforms),
        passes=_has_platform,
        explain=lambda count: f"unsupported platform on {_nodes(count)}",
    ),
    Filter(
        applies=lambda demand: bool(demand.host_ports),
        passes=lambda demand, usage: not any(usage.host_ports[port] > 0 for port in demand.host_ports),
        explain=lambda count: f"host-mode port already in use on {_nodes(count)}",
    ),
    Filter(
        applies=lambda demand: demand.per_node_max > 0,
        passes=lambda demand, usage: usage.active_by_service[demand.service_id] < demand.per_node_max,
        explain=lambda _: "max replicas per node limit exceed",
    ),
)
"""In the order in which they are asked; a node counts for the first that refuses it."""


class Pipeline:
    """The filters that apply to one demand."""

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._filters = [candidate for candidate in FILTERS if candidate.applies(demand)]

    def passes(self, usage: NodeUsage) -> bool:
        """Say whether a node will do."""
        demand = self._demand
        return all(candidate.passes(demand, usage) for candidate in self._filters)

    def explain(self, usages: Iterable[NodeUsage]) -> str:
        """Say why nodes will not do, the commonest reason first; empty if there is none."""
        refused = [0] * len(self._filters)
        for usage in usages:
            for number, candidate in enumerate(self._filters):
                if not candidate.passes(self._demand, usage):
                    refused[number] += 1
                    break
        reasons = [
            (count, candidate) for count, candidate in zip(refused, self._filters, strict=True) if count
        ]
        reasons.sort(key=lambda reason: -reason[0])
        return "; ".join(candidate.explain(count) for count, candidate in reasons)
