"""The command line of the benches: measure both engines, print a table with ratios."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import engines
from bench.beeyard_side import BeeyardWork
from bench.docker_side import DockerWork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = DockerWork | BeeyardWork

MIB = 1 << 20
CONCURRENT = 8
IDLE_CONTAINERS = 100
STREAM_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    work: str
    unit: str
    docker: float
    beeyard: float
    budget: str
    higher_is_better: bool = False

    @property
    def ratio(self) -> float:
        """Beeyard's figure over Docker's."""
        return self.beeyard / self.docker if self.docker else float("nan")


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def note(text: str) -> None:
    """Progress for the person who waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def concurrent_runs(work: Work, count: int) -> float:
    """Containers started and finished a second, eight at once."""
    with ThreadPoolExecutor(CONCURRENT) as pool:
        seconds = timed(lambda: list(pool.map(lambda _: work.run_over_api(), range(count))))
    return count / seconds


def measure(works: Sequence[Work], rounds: int) -> list[Row]:
    """All rows. The engines take turns within each round."""
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)

    def take(row: str, action: Callable[[Work], float], times: int) -> None:
        for number in range(times):
            for work in works if number % 2 == 0 else reversed(works):
                samples[row, work.name].append(action(work))

    for work in works:
        work.run_once()
    note("daemons at rest")
    take("idle daemons", lambda work: work.daemons_pss() / MIB, 1)
    note("run --rm")
    take("run", lambda work: timed(work.run_once), rounds * 4)
    note("eight at once")
    take("concurrent", lambda work: concurrent_runs(work, CONCURRENT * 5), max(1, rounds // 2))
    note("idle containers")

    def idle(work: Work) -> float:
        containers = [work.exec_target() for _ in range(IDLE_CONTAINERS)]
        time.sleep(1)
        sizes = work.supervisor_pss()
        work.remove(containers)
        if len(sizes) < IDLE_CONTAINERS:
            raise SystemExit(f"{work.name}: found {len(sizes)} supervisors of {IDLE_CONTAINERS} containers")
        return statistics.mean(sizes) / MIB

    take("supervisor", idle, 1)
    note("execs and streams")
    targets = {work.name: work.exec_target() for work in works}
    take("exec", lambda work: timed(lambda: work.exec_over_api(targets[work.name])), rounds * 4)
    for work in works:
        work.remove([targets[work.name]])
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(MIB) * (STREAM_BYTES // MIB))
        file.flush()
        source = Path(file.name)
        take("stdin", lambda work: STREAM_BYTES / MIB / timed(lambda: work.pipe(source)), max(1, rounds // 2))
    take(
        "log",
        lambda work: STREAM_BYTES / MIB / timed(lambda: work.fill_log(STREAM_BYTES)),
        max(1, rounds // 2),
    )
    for number in range(rounds):
        note(f"services, round {number + 1} of {rounds}")
        for work in works:
            samples["create", work.name].append(timed(lambda work=work: work.create_service(5)))  # type: ignore[misc]
            samples["scale", work.name].append(timed(lambda work=work: work.scale(50)))  # type: ignore[misc]
            samples["remove", work.name].append(timed(work.remove_service))

    def row(key: str, work: str, unit: str, budget: str, scale: float = 1.0, *, higher: bool = False) -> Row:
        docker, beeyard = (statistics.median(samples[key, name]) * scale for name in ("docker", "beeyard"))
        return Row(
            work=work, unit=unit, docker=docker, beeyard=beeyard, budget=budget, higher_is_better=higher
        )

    return [
        row("run", "run --rm IMAGE true, with a network", "ms", "≤ 0.4", 1000),
        row(
            "concurrent",
            "containers run and removed, 8 at once, over the API",
            "containers/s",
            "≥ 6",
            higher=True,
        ),
        row("create", "service create, 5 replicas: all run", "ms", "≤ 0.4", 1000),
        row("scale", "service scale 5 → 50: all run", "ms", "≤ 0.2", 1000),
        row("remove", "service rm of 50: all gone", "ms", "≤ 0.25", 1000),
        row("supervisor", "memory of an idle container's supervisor (PSS)", "MiB", "≤ 0.25"),
        row("exec", "exec over the API, to its end", "ms", "≤ 0.5", 1000),
        row("stdin", "64 MiB through run -i IMAGE cat", "MiB/s", "≥ 2", higher=True),
        row("log", "64 MiB written to the log", "MiB/s", "≥ 2", higher=True),
        row("idle daemons", "memory of the idle daemons (PSS)", "MiB", "≤ 1"),
    ]


def render(rows: Sequence[Row], style: str) -> str:
    """The table."""
    if style == "json":
        return json.dumps([{**asdict(row), "ratio": round(row.ratio, 3)} for row in rows], indent=2)
    head = ("work", "unit", "docker", "beeyard", "ratio", "budget")
    lines = [head] + [
        (row.work, row.unit, f"{row.docker:.1f}", f"{row.beeyard:.1f}", f"{row.ratio:.2f}", row.budget)
        for row in rows
    ]
    if style == "markdown":
        body = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([body[0], "| --- | --- | ---: | ---: | ---: | ---: |", *body[1:]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the service rows (default: 5)")
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: run as root", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        tar = Path(name) / "root.tar"
        engines.make_root_file_system(tar)
        note("starting docker")
        docker = DockerWork(stack.enter_context(engines.docker()), tar)
        note("starting beeyard")
        beeyard = BeeyardWork(stack.enter_context(engines.beeyard()), tar)
        rows = measure([docker, beeyard], options.rounds)
    print(render(rows, options.format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
