"""A cgroup per node in the unified hierarchy: daemons, container monitors and containers live and die in it together.

The unified hierarchy needs no controllers for this, so it serves on hosts with cgroup v1 controllers too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.lab.layout import PlaygroundError

CGROUP_ROOT = Path("/sys/fs/cgroup")
EMPTY_TIMEOUT_S = 15.0


def unified() -> Path:
    """Mount point of the unified hierarchy."""
    for path in (CGROUP_ROOT, CGROUP_ROOT / "unified"):
        if (path / "cgroup.procs").exists() and (path / "cgroup.subtree_control").exists():
            return path
    raise PlaygroundError("no cgroup v2 hierarchy at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount one")


def hierarchies() -> list[Path]:
    """Roots of all hierarchies: a runtime may have made a node's groups in each."""
    if unified() == CGROUP_ROOT:
        return [CGROUP_ROOT]
    return sorted(path for path in CGROUP_ROOT.iterdir() if path.is_dir() and not path.is_symlink())


def create(group: str) -> None:
    """Make the group for a node's daemons."""
    (unified() / group / "daemons").mkdir(parents=True, exist_ok=True)


def enter(group: str, pid: int) -> None:
    """Move a process into the node's group; what it starts from now on is in it too."""
    (unified() / group / "daemons" / "cgroup.procs").write_text(str(pid))


def groups_below(root: Path, group: str) -> list[Path]:
    """The group and all below it, deepest first."""
    top = root / group
    if not top.is_dir():
        return []
    below = [path for path in top.rglob("*") if path.is_dir()]
    return [*sorted(below, key=lambda path: len(path.parts), reverse=True), top]


def pids(group: str) -> set[int]:
    """Processes of the group in any hierarchy."""
    found: set[int] = set()
    for root in hierarchies():
        for path in groups_below(root, group):
            with contextlib.suppress(OSError, ValueError):
                found.update(int(line) for line in (path / "cgroup.procs").read_text().split())
    return found


def freeze(group: str, *, frozen: bool) -> None:
    """Stop or continue all processes of the group."""
    (unified() / group / "cgroup.freeze").write_text("1" if frozen else "0")


def is_frozen(group: str) -> bool:
    """Whether the group is stopped."""
    try:
        return (unified() / group / "cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False


def thaw_v1(group: str) -> None:
    """Thaw the v1 freezer's groups: a frozen process does not die."""
    for path in groups_below(CGROUP_ROOT / "freezer", group):
        with contextlib.suppress(OSError):
            (path / "freezer.state").write_text("THAWED")


def kill(group: str) -> None:
    """Kill every process of the group and wait until it is empty."""
    deadline = time.monotonic() + EMPTY_TIMEOUT_S
    while pids(group):
        thaw_v1(group)
        with contextlib.suppress(OSError):
            freeze(group, frozen=False)
        with contextlib.suppress(OSError):
            (unified() / group / "cgroup.kill").write_text("1")
        for path in (path for root in hierarchies() for path in groups_below(root, group)):
            _kill_group(path)
        if time.monotonic() > deadline:
            raise PlaygroundError(f"cgroup {group}: processes {sorted(pids(group))} do not die")
        time.sleep(0.02)


def _kill_group(path: Path) -> None:
    """Kill what is in one group of a v1 hierarchy, which has no cgroup.kill."""
    if (path / "cgroup.kill").exists():
        return
    with contextlib.suppress(OSError, ValueError):
        for line in (path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)


def remove(group: str) -> None:
    """Remove the empty group from all hierarchies."""
    for root in hierarchies():
        for path in groups_below(root, group):
            deadline = time.monotonic() + 2.0
            while path.is_dir():
                try:
                    path.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)


def remove_empty_parents(group: str) -> None:
    """Remove the group's parents where nothing else is in them."""
    for root in hierarchies():
        for parent in (root / group).parents:
            if parent == root:
                break
            with contextlib.suppress(OSError):
                parent.rmdir()
