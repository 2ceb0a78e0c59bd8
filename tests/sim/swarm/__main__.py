"""python -m tests.sim.swarm --seeds N [--start K] [--steps S]."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.sim.swarm.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.sim.swarm")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    began = time.monotonic()
    for seed in range(options.start, options.start + options.seeds):
        try:
            World(seed).run(options.steps)
        except AssertionError:
            traceback.print_exc()
            print(
                f"seed {seed} fails; again: python -m tests.sim.swarm --start {seed} --seeds 1 --steps {options.steps}"
            )
            return 1
    print(f"{options.seeds} seeds of {options.steps} steps passed in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
