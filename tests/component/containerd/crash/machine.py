"""What there is on this machine of the containers of one yard, read from the kernel and the disk.

Nothing here asks the daemon or uses its code: what it knows and how it looks is what is being tested.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.component.containerd import groups

_ID = re.compile(r"[0-9a-f]{64}")
_KEPT_IN_RUN = frozenset({"c", "exits", "rt", "t"})
_KEPT_IN_STATE = frozenset({"lock", "boot", "containers", "seccomp", "volumes"})


@dataclass(slots=True)
class Parts:
    """Everything that has to do with one id."""

    recorded: bool = False
    layer: bool = False
    directory: bool = False
    bundle: bool = False
    root: bool = False
    """Its root is mounted, in the host's mount namespace."""
    mounts: list[str] = field(default_factory=list)
    """Everything that is mounted below its bundle, in any namespace."""
    state: bool = False
    exit_file: bool = False
    sandbox: bool = False
    network: int = 0
    """Inode of its network namespace, as netd holds it."""
    conmons: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    frozen: bool = False
    """Its processes stand still."""
    members: set[int] = field(default_factory=set)
    execs: dict[str, list[int]] = field(default_factory=dict)
    """Pids of conmon, by exec directory; for a directory without one, none; one without a directory is a fault."""
    init: int = 0
    """The oldest member whose parent is conmon."""

    def held(self) -> list[str]:
        """Return what only a run may hold."""
        found = [
            name
            for name, there in (
                ("bundle", self.bundle),
                ("runtime state", self.state),
                ("exit file", self.exit_file),
                ("sandbox", self.sandbox),
            )
            if there
        ]
        found += [f"conmon {pid}" for pid in self.conmons]
        found += [f"process {pid}" for pid in sorted(self.members)]
        found += [f"conmon {pid} of an exec" for pids in self.execs.values() for pid in pids]
        found += [f"mount {target}" for target in self.mounts]
        return found + [f"cgroup {group}" for group in self.groups]


@dataclass(slots=True)
class Seen:
    """One look at the machine."""

    parts: dict[str, Parts] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    """What belongs to no container and should not be there."""

    def of(self, container_id: str) -> Parts:
        """Return the parts of one id."""
        return self.parts.setdefault(container_id, Parts())


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the yard has what."""

    run: Path
    root: Path
    layers: Path
    sandboxes: Path
    cgroup_parent: str
    mark: str
    """In the environment of every process of its containers."""


def look(places: Places) -> Seen:
    """Look once."""
    seen = Seen()
    _directories(places, seen)
    _records(places, seen)
    _groups(places, seen)
    _processes(places, seen)
    return seen


def start_ticks(pid: int) -> int:
    """Return when a process was started; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _directories(places: Places, seen: Seen) -> None:
    run, state = places.run / "containerd", places.root / "containerd"
    for key in _entries(run / "c", seen):
        seen.of(key).bundle = True
        for directory in _list(run / "c" / key / "exec"):
            seen.of(key).execs[str(directory)] = []
    for key in _entries(run / "exits", seen):
        seen.of(key).exit_file = True
    seen.strays += [str(path) for path in _list(run / "t")]
    for key in _entries(run / "rt", seen):
        seen.of(key).state = True
    for key in _entries(state / "containers", seen):
        seen.of(key).directory = True
    for key in _entries(places.layers, seen):
        seen.of(key).layer = True
    for key in _entries(places.sandboxes, seen):
        seen.of(key).sandbox = True
        with contextlib.suppress(OSError):
            seen.of(key).network = (places.sandboxes / key / "ns").stat().st_ino
    seen.strays += [str(path) for path in _list(run) if path.name not in _KEPT_IN_RUN]
    seen.strays += [
        str(path)
        for path in _list(state)
        if path.name not in _KEPT_IN_STATE and not path.name.startswith("state.db")
    ]


def _records(places: Places, seen: Seen) -> None:
    database = places.root / "containerd/state.db"
    with contextlib.closing(sqlite3.connect(database, timeout=5)) as connection:
        for (key,) in connection.execute("SELECT id FROM containers"):
            seen.of(key).recorded = True


def _groups(places: Places, seen: Seen) -> None:
    for group in groups.below(places.cgroup_parent):
        if not _ID.fullmatch(group.name):
            seen.strays.append(f"cgroup {group}")
            continue
        parts = seen.of(group.name)
        parts.groups.append(str(group.relative_to(groups.CGROUP_ROOT)))
        with contextlib.suppress(OSError):
            parts.frozen = groups.freezer(places.cgroup_parent, group.name) != groups.THAWED
        for below, _, _ in os.walk(group):
            with contextlib.suppress(OSError):
                parts.members.update(groups.pids(Path(below)))


def _processes(places: Places, seen: Seen) -> None:
    """Go through all processes: monitors, runtimes, what bears the mark, and every mount namespace."""
    owners = {pid: parts for parts in seen.parts.values() for pid in parts.members}
    namespaces: set[str] = set()
    ours = str(places.run / "containerd")
    mark = places.mark.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            namespace = os.readlink(entry / "ns/mnt")
            marked = mark in (entry / "environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or a zombie
        line = b" ".join(words).decode(errors="replace")
        name = Path(words[0].decode(errors="replace")).name
        if namespace not in namespaces:
            namespaces.add(namespace)
            _mounts(entry, ours, seen, host=namespace == os.readlink("/proc/self/ns/mnt"))
        if name == "conmon" and ours in line:
            _conmon(pid, line.split(" "), seen)
        elif name in ("crun", "runc") and ours in line:
            seen.strays.append(f"runtime {pid}: {line[:120]}")
        elif marked and pid not in owners and name not in ("crun", "runc"):
            seen.strays.append(f"process {pid} outside of any cgroup of ours: {line[:80]}")
    monitors = {pid: parts for parts in seen.parts.values() for pid in parts.conmons}
    # conmon adopts what has lost its parent, where the container shares the host's process ids: the oldest is the init.
    for pid, parts in sorted(owners.items(), key=lambda item: (-start_ticks(item[0]), -item[0])):
        if monitors.get(_parent(pid)) is parts:
            parts.init = pid


def _conmon(pid: int, words: list[str], seen: Seen) -> None:
    parts = seen.of(words[words.index("-c") + 1])
    if "-e" not in words:
        parts.conmons.append(pid)
        return
    directory = words[words.index("-b") + 1]
    if directory not in parts.execs:
        seen.strays.append(f"conmon {pid} of an exec without a directory: {directory}")
    parts.execs.setdefault(directory, []).append(pid)


def _mounts(process: Path, ours: str, seen: Seen, *, host: bool) -> None:
    try:
        lines = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        target = line.split(" ")[4]
        if not target.startswith(f"{ours}/c/"):
            continue
        key = target[len(ours) + 3 :].partition("/")[0]
        parts = seen.of(key)
        parts.mounts.append(f"{target} (seen by {process.name})")
        parts.root = parts.root or (host and target.endswith("/rootfs"))


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _entries(directory: Path, seen: Seen) -> Iterator[str]:
    for entry in _list(directory):
        if _ID.fullmatch(entry.name):
            yield entry.name
        else:
            seen.strays.append(str(entry))


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
