"""Where control groups stand and what they say, on hosts with version 1 and on those with version 2 alone.

Nothing here uses the daemon's code: how it looks at control groups is part of what is tested.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
VERSION = 2 if (CGROUP_ROOT / "cgroup.controllers").exists() else 1
"""1 where controllers have hierarchies of their own, whether or not that of version 2 is mounted beside them."""

FROZEN, FREEZING, THAWED = "FROZEN", "FREEZING", "THAWED"


def tops(parent: str) -> list[Path]:
    """Return the directories of a parent group, one in each hierarchy."""
    found = [CGROUP_ROOT / parent] if VERSION == 2 else sorted(CGROUP_ROOT.glob(f"*/{parent}"))
    return [path for path in found if path.is_dir()]


def below(parent: str) -> list[Path]:
    """Return the directories of the groups directly below a parent, in every hierarchy."""
    return [path for top in tops(parent) for path in sorted(top.iterdir()) if path.is_dir()]


def whole(parent: str) -> Iterator[Path]:
    """Yield the directories of a parent and of all groups below it, in every hierarchy."""
    for top in tops(parent):
        for directory, _, _ in os.walk(top):
            yield Path(directory)


def group(parent: str, name: str, controller: str = "pids") -> Path:
    """Return the directory in which a group has the files of one controller; it need not exist."""
    return (CGROUP_ROOT if VERSION == 2 else CGROUP_ROOT / controller) / parent / name


def pids(directory: Path) -> list[int]:
    """Return who is in a group, not who is in those below."""
    return [int(line) for line in (directory / "cgroup.procs").read_text().split()]


def freezer(parent: str, name: str) -> str:
    """Return FROZEN, FREEZING or THAWED."""
    directory = group(parent, name, "freezer")
    if VERSION == 1:
        return (directory / "freezer.state").read_text().strip()
    if "frozen 1" in (directory / "cgroup.events").read_text().splitlines():
        return FROZEN
    return FREEZING if (directory / "cgroup.freeze").read_text().strip() == "1" else THAWED


def thaw(directory: Path) -> None:
    """Let the processes of a group run on."""
    for name, value in (("freezer.state", THAWED), ("cgroup.freeze", "0")):
        if (directory / name).exists():
            (directory / name).write_text(value)


_V1 = {
    "memory": "memory/memory.limit_in_bytes",
    "memory_reservation": "memory/memory.soft_limit_in_bytes",
    "memory_swap": "memory/memory.memsw.limit_in_bytes",
    "cpu_shares": "cpu/cpu.shares",
    "cpu_period": "cpu/cpu.cfs_period_us",
    "cpu_quota": "cpu/cpu.cfs_quota_us",
    "cpuset_cpus": "cpuset/cpuset.cpus",
    "cpuset_mems": "cpuset/cpuset.mems",
    "pids": "pids/pids.max",
    "memory_swappiness": "memory/memory.swappiness",
    "oom_kill_disable": "memory/memory.oom_control",
}
V1_ONLY = {"memory_swappiness", "oom_kill_disable"}
"""Limits that the kernel does not have in version 2."""


def limits(parent: str, name: str, wanted: dict[str, int | str]) -> dict[str, int | str]:
    """Return those limits of a group that are wanted, in the words of the command line; "max" is that of none.

    Version 2 counts swap alone, where the command line and version 1 count it with the memory: it is added here. It has
    weights in place of shares, which runtimes make of them in two ways: either counts as what is wanted. What it has
    not got (`V1_ONLY`) is left out, here and by `expected`.
    """
    read = _v1 if VERSION == 1 else _v2
    return {key: read(parent, name, key, value) for key, value in expected(wanted).items()}


def expected(wanted: dict[str, int | str]) -> dict[str, int | str]:
    """Return the limits that can be seen on this machine."""
    return {key: value for key, value in wanted.items() if VERSION == 1 or key not in V1_ONLY}


def _v1(parent: str, name: str, key: str, wanted: int | str) -> int | str:
    controller, _, file = _V1[key].partition("/")
    text = (group(parent, name, controller) / file).read_text().strip()
    if key == "oom_kill_disable":
        return int("oom_kill_disable 1" in text)
    return _value("max" if text == "-1" else text, wanted)


def _v2(parent: str, name: str, key: str, wanted: int | str) -> int | str:
    directory = group(parent, name)

    def text(file: str) -> str:
        return (directory / file).read_text().strip()

    match key:
        case "memory_swap":
            swap = text("memory.swap.max")
            return swap if swap == "max" else int(text("memory.max")) + int(swap)
        case "cpu_shares":
            return wanted if int(text("cpu.weight")) in weights(int(wanted)) else text("cpu.weight")
        case "cpu_quota" | "cpu_period":
            return _value(text("cpu.max").split()[key == "cpu_period"], wanted)
        case _:
            file = {
                "memory": "memory.max",
                "memory_reservation": "memory.low",
                "cpuset_cpus": "cpuset.cpus",
                "cpuset_mems": "cpuset.mems",
                "pids": "pids.max",
            }[key]
            return _value(text(file), wanted)


def weights(shares: int) -> set[int]:
    """Return what runtimes make of shares: the older ones by a straight line, newer ones by a curve (1024 for 100)."""
    power = math.log2(shares)
    curved = math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))
    return {1 + (shares - 2) * 9_999 // 262_142, curved}


def _value(text: str, wanted: int | str) -> int | str:
    return text if isinstance(wanted, str) or not text.isdecimal() else int(text)
