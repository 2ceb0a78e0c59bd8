"""Runs the simulation: `python -m tests.sim.raft --seeds 1000 --start 0`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time

from tests.sim.raft.mutations import MUTATIONS, mutated
from tests.sim.raft.run import failure_of
from tests.sim.raft.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.raft", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--mutate", choices=sorted(MUTATIONS), help="break the algorithm, and stop when it shows"
    )
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # torn tails are what it is about
    began = time.perf_counter()
    commits = elections = snapshots = failures = 0
    seed = arguments.start
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        ground = MUTATIONS[arguments.mutate].ground if arguments.mutate else {}
        world = World(seed, tracing=arguments.trace, ground=ground)
        with mutated(arguments.mutate) if arguments.mutate else contextlib.nullcontext():
            failure = failure_of(world)
        if failure is not None:
            failures += 1
            print(failure, flush=True)
            if arguments.mutate:
                break
        commits += world.checkers.commits
        elections += world.checkers.elections
        snapshots += world.checkers.snapshots_installed
    print(
        f"{seed + 1 - arguments.start} seeds from {arguments.start}: {failures} failed; {commits} entries committed, "
        f"{elections} leaders, {snapshots} snapshots installed, {time.perf_counter() - began:.1f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
