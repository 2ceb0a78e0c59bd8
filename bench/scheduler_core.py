"""Placements a second of the scheduler's core: python bench/scheduler_core.py [--nodes 1000] [--tasks 30000]."""

from __future__ import annotations

import argparse
import time

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_PENDING, TASK_STATE_RUNNING, Task
from services.swarmd.scheduler.core.demand import demand_of
from services.swarmd.scheduler.core.fleet import Fleet
from services.swarmd.scheduler.core.nodes import NodeView, Resources
from services.swarmd.scheduler.core.place import place

CASES = {
    "large services": (500, (), ()),
    "small services": (10, (), ()),
    "constraint": (100, ("node.labels.disk==ssd",), ()),
    "constraint and preference": (100, ("node.labels.disk==ssd",), ("node.labels.zone",)),
}


def fleet_of(nodes: int) -> Fleet:
    fleet = Fleet()
    for number in range(nodes):
        fleet.set_node(
            NodeView(
                id=f"node-{number:05d}",
                labels={"zone": f"z{number % 3}", "disk": "ssd" if number % 2 else "hdd"},
                resources=Resources(64 * 10**9, 256 << 30),
            )
        )
    return fleet


def pending(
    service: int, size: int, constraints: tuple[str, ...], spread_over: tuple[str, ...]
) -> list[Task]:
    tasks = []
    for slot in range(1, size + 1):
        task = Task(
            id=f"{service:06d}-{slot:06d}", service_id=f"service-{service}", slot=slot, spec_version=1
        )
        task.desired_state = TASK_STATE_RUNNING
        task.status.state = TASK_STATE_PENDING
        task.spec.container.image = "web:1"
        task.spec.container.env.extend(f"KEY_{n}=value" for n in range(8))
        task.spec.reservations.nano_cpus = 10**8
        task.spec.reservations.memory_bytes = 64 << 20
        task.spec.placement.constraints.extend(constraints)
        task.spec.placement.spread_over.extend(spread_over)
        tasks.append(task)
    return tasks


def measure(
    nodes: int, total: int, size: int, constraints: tuple[str, ...], spread_over: tuple[str, ...]
) -> float:
    fleet = fleet_of(nodes)
    groups = [pending(service, size, constraints, spread_over) for service in range(total // size)]
    began = time.perf_counter()
    placed = 0
    for tasks in groups:
        placed += len(place(fleet, demand_of(tasks[0]), tasks, 0.0).assigned)
    elapsed = time.perf_counter() - began
    assert placed == size * len(groups), f"{placed} of {size * len(groups)} tasks were placed"
    return placed / elapsed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=30_000)
    options = parser.parse_args()
    print(f"{options.tasks} tasks on {options.nodes} nodes, placements/s")
    for name, (size, constraints, spread_over) in CASES.items():
        rate = measure(options.nodes, options.tasks, size, constraints, spread_over)
        print(f"{name + f' ({size} tasks each)':45} {rate:10,.0f}")


if __name__ == "__main__":
    main()
