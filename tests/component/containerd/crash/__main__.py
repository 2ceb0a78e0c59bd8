"""Kills daemons: `python -m tests.component.containerd.crash --seeds 200 --start 0`. As root.

Fails when a round fails, and when so many rounds have never killed a daemon at one of the fault points.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.component.containerd.crash.mutations import MUTATIONS
from tests.component.containerd.crash.round import SETTLE_S_MAX, Report
from tests.component.containerd.crash.run import Totals, run
from tests.component.containerd.crash.script import plan
from tests.component.containerd.crash.zygote import Zygote

ROUNDS_ENOUGH = 200
"""As many rounds meet every fault point several times."""
MUTANT_SETTLE_S = 3.0
"""Who waits for what will not come need not wait long."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.component.containerd.crash", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many rounds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--mutate", choices=sorted(MUTATIONS), default="", help="break the daemon, and stop when it shows"
    )
    parser.add_argument("--plan", action="store_true", help="only print what would happen")
    arguments = parser.parse_args()
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    if arguments.plan:
        for seed in seeds:
            print(plan(seed))
        return 0

    def told(report: Report) -> None:
        print("F" if report.faults else ".", end="", file=sys.stderr, flush=True)

    began = time.perf_counter()
    with Zygote() as zygote:
        totals = asyncio.run(
            run(
                seeds,
                zygote,
                mutation=arguments.mutate,
                told=told,
                stop_at_failure=bool(arguments.mutate),
                settle_s=MUTANT_SETTLE_S if arguments.mutate else SETTLE_S_MAX,
            )
        )
    print("", *totals.failures, sep="\n\n")
    print(
        f"{totals.rounds} rounds from {arguments.start}: {len(totals.failures)} failed; {totals.calls} calls,"
        f" {totals.died_at.total()} deaths at {len(totals.died_at)} fault points,"
        f" {time.perf_counter() - began:.1f} s"
    )
    return verdict(totals, mutated=bool(arguments.mutate))


def verdict(totals: Totals, *, mutated: bool) -> int:
    """Return the exit code, and say which fault points were not met."""
    missed = totals.missed()
    enough = totals.rounds >= ROUNDS_ENOUGH and not mutated  # a mutant's rounds end at the first failure
    if missed:
        print(f"no daemon died at {len(missed)} fault points: {', '.join(missed)}")
        if not enough:
            print(f"that fails from {ROUNDS_ENOUGH} rounds on: these were {totals.rounds}")
    return 1 if totals.failures or (missed and enough) else 0


if __name__ == "__main__":
    sys.exit(main())
