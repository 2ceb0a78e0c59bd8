"""Proportional set sizes from /proc, in bytes."""

from __future__ import annotations

from pathlib import Path


def pss_bytes(pid: int) -> int:
    """PSS of one process; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def processes(executable: str) -> dict[int, list[str]]:
    """Command lines by pid of all processes whose argv[0] has this base name."""
    found: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if argv and Path(argv[0]).name == executable:
            found[int(entry.name)] = argv
    return found


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found, queue = [], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found
