"""Runs rounds, several worlds side by side, and says how to run a failed one again."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.component.containerd.crash.round import SETTLE_S_MAX, Report, play
from tests.component.containerd.crash.script import POINTS, plan
from tests.component.containerd.crash.world import World, world
from tests.component.containerd.crash.zygote import Zygote

WORLDS = 2


@dataclass(slots=True)
class Totals:
    """What many rounds came to."""

    rounds: int = 0
    calls: int = 0
    died_at: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Take a round into account."""
        self.rounds += 1
        self.calls += report.calls
        self.died_at.update(report.died_at)
        if report.faults:
            self.failures.append(
                f"seed {report.seed} (commit {_commit()}):\n  "
                + "\n  ".join(report.faults)
                + f"\n  again: make crash START={report.seed} SEEDS=1"
            )

    def missed(self) -> list[str]:
        """Return the fault points at which no daemon died."""
        return [point for point in POINTS if not self.died_at[point]]


async def run(
    seeds: Iterable[int],
    zygote: Zygote,
    *,
    mutation: str = "",
    told: Callable[[Report], None] = lambda _: None,
    stop_at_failure: bool = False,
    settle_s: float = SETTLE_S_MAX,
) -> Totals:
    """Play the rounds of all seeds."""
    totals = Totals()
    left = iter(list(seeds))

    async def work() -> None:
        finished = False
        while not finished:  # a world in which something went wrong is left for a new one
            with _directory() as directory:
                async with world(directory, zygote) as made:
                    finished = await _rounds(made)

    async def _rounds(made: World) -> bool:
        for seed in left:
            report = await play(made, plan(seed), mutation, settle_s)
            totals.add(report)
            told(report)
            if report.faults:
                if stop_at_failure:
                    collections.deque(left, maxlen=0)
                    return True
                return False
        return True

    async with asyncio.TaskGroup() as group:
        for _ in range(WORLDS):
            group.create_task(work())
    return totals


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="by-", dir="/tmp"))
    directory.chmod(0o711)  # the root of a user namespace passes here
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _commit() -> str:
    root = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
