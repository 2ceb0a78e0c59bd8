"""Finds nodes for tasks that ask for the same. Pure.

What is placed is counted in the fleet at once, so that the next task sees it. Whoever does not go through with a
placement must tell the fleet so, by `Fleet.observe` of the task as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_ASSIGNED
from services.swarmd.scheduler.core import spread
from services.swarmd.scheduler.core.filters import Pipeline
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beeyard.swarm.v1.objects_pb2 import Task
    from services.swarmd.scheduler.core.demand import Demand
    from services.swarmd.scheduler.core.fleet import Fleet, NodeUsage

ASSIGNED_MESSAGE = "scheduler assigned task to node"


@dataclass(frozen=True, slots=True)
class Placement:
    """What came of it: every task is in one of the two."""

    assigned: Sequence[Task]
    refused: Sequence[Task]


def place(fleet: Fleet, demand: Demand, tasks: Sequence[Task], now: float) -> Placement:
    """Assign tasks to the best nodes, or say why there is none.

    Args:
        fleet: All nodes. It counts the tasks that are assigned.
        demand: What each of the tasks asks for.
        tasks: Tasks without a node; the first ones get the best.
        now: The leader's time.
    """
    pipeline = Pipeline(demand)
    tree = spread.grow(fleet, demand, pipeline.passes, now)
    assigned: list[Task] = []
    for task in tasks:
        if tree.best is None:
            break

        def take(usage: NodeUsage, task: Task = task) -> bool:
            placed = assign(task, usage.node.id, now)
            fleet.observe(placed)
            assigned.append(placed)
            return pipeline.passes(usage)

        tree.place(take)
    left = tasks[len(assigned) :]
    if not left:
        return Placement(assigned, ())
    error = explanation(pipeline.explain(fleet.nodes.values()))
    return Placement(assigned, [refuse(task, error) for task in left])


def check(fleet: Fleet, demand: Demand, task: Task, now: float) -> Task:
    """Assign a task that is meant for one node alone, or say why that node will not do."""
    pipeline = Pipeline(demand)
    usage = fleet.nodes.get(task.node_id)
    if usage is None:
        return refuse(task, "its node is unknown")
    if not pipeline.passes(usage):
        return refuse(task, pipeline.explain([usage]))
    placed = assign(task, task.node_id, now)
    fleet.observe(placed)
    return placed


def explanation(reasons: str) -> str:
    """Return what users read of a task that no node will do for."""
    return f"no suitable node ({reasons})" if reasons else "no suitable node"


def assign(task: Task, node_id: str, now: float) -> Task:
    """Return the task with a node."""
    placed = copy_of(task)
    placed.node_id = node_id
    status = placed.status
    status.state = TASK_STATE_ASSIGNED
    status.message = ASSIGNED_MESSAGE
    status.ClearField("error")
    timestamps.put(status.since, now)
    return placed


def refuse(task: Task, error: str) -> Task:
    """Return the task with the reason for which it has no node."""
    if task.status.error == error:
        return task
    refused = copy_of(task)
    refused.status.error = error
    return refused
