"""What one short container costs, in units that hardly depend on the machine's load: processor time by process.

    PYTHONPATH=.:protos .venv/bin/python -m bench.costs [--lives N] [--rounds N]

A life is create, start, wait and remove over the API, of a container that runs `true`; then the same by
`swarmctl run --rm`. Starts a node of the playground for it. conmon, the runtime and the container are nobody's
children: they are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench import engines
from bench.beeyard_side import BeeyardWork

if TYPE_CHECKING:
    from collections.abc import Callable


def processor_ms(pid: int) -> float:
    """Processor time of a process so far: the scheduler's own account, of all its threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # a thread that has just ended
    return total / 1e6


def children_ms() -> float:
    """Processor time of the children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def daemons() -> dict[str, int]:
    """The pids of the node's daemons, by name."""
    command = [sys.executable, str(engines.REPOSITORY / "deploy" / "playground")]
    listed = subprocess.run(
        [*command, "ls", "--name", engines.PLAYGROUND, "--format", "json"],
        capture_output=True,
        check=True,
    )
    found: dict[str, int] = json.loads(listed.stdout)[0]["daemons"]
    return found


def measure(pids: dict[str, int], life: Callable[[], None], lives: int) -> dict[str, float]:
    """Milliseconds of one life: by daemon, of the client, and as the clock on the wall saw it."""
    before = {name: processor_ms(pid) for name, pid in pids.items()}
    before["client"] = children_ms()
    walls = []
    for _ in range(lives):
        started = time.perf_counter()
        life()
        walls.append((time.perf_counter() - started) * 1000)
    time.sleep(0.2)  # the last one is still being taken down
    after = {name: processor_ms(pid) for name, pid in pids.items()}
    after["client"] = children_ms()
    costs = {name: (after[name] - before[name]) / lives for name in before}
    return {**costs, "all": sum(costs.values()), "wall": statistics.median(walls)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.costs", description=__doc__.splitlines()[0])
    parser.add_argument("--lives", type=int, default=20, help="lives in each round (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("costs: run as root", file=sys.stderr)
        return 1
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, engines.beeyard() as engine:
        tar = Path(name) / "root.tar"
        engines.make_root_file_system(tar)
        work = BeeyardWork(engine, tar)
        pids = daemons()
        for life in (work.run_over_api, work.run_once):
            life()
        for _ in range(options.rounds):
            for way, life in (("api", work.run_over_api), ("cli", work.run_once)):
                for what, milliseconds in measure(pids, life, options.lives).items():
                    taken[way, what].append(milliseconds)
    for (way, what), values in taken.items():
        print(f"{way}  {what:<11}{statistics.median(values):7.1f} ms   least {min(values):7.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
