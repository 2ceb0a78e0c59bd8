"""What a daemon holds, as the kernel shows it: compared before and after, the same or it leaks."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

SETTLE_S_MAX = 10.0
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Open files by kind, threads by name, children."""

    files: collections.Counter[str]
    threads: collections.Counter[str]
    children: frozenset[int]

    def grown_since(self, before: Footprint) -> dict[str, int]:
        """Return what there is more of. gRPC's own sockets and threads, and the pool's threads, come and go."""
        more = (self.files - before.files) + (self.threads - before.threads)
        more["children"] = len(self.children - before.children)
        return {
            kind: count
            for kind, count in more.items()
            if count and not kind.startswith(("socket:", "thread "))
        }


def footprint(pid: int) -> Footprint:
    """Look at a process."""
    files: collections.Counter[str] = collections.Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            files[_NUMBERS.sub("", os.readlink(link))] += 1
    threads: collections.Counter[str] = collections.Counter()
    children: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            threads[f"thread {_NUMBERS.sub('', (task / 'comm').read_text().strip())}"] += 1
            children.update(map(int, (task / "children").read_text().split()))
    return Footprint(files, threads, frozenset(children))


async def grown(pid: int, before: Footprint) -> dict[str, int]:
    """Return what there is more of, once that does not change for the better any more."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S_MAX
    while more := footprint(pid).grown_since(before):
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(0.05)
    return more


def sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    return footprint(pid).files["socket:[]"]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
