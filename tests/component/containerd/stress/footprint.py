"""What a node holds, as the kernel and the daemon show it: compared before and after, the same or something leaks.

Everything is counted by kind: what a kind's name says is what a failed comparison says. The kernel tells of the
daemon's files, threads and children, and of the node's processes, mounts, control groups and network namespaces. The
disk tells what lies in its directories, the daemon itself how many tasks and calls it has under way.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.client
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.component.containerd import groups
from tests.component.containerd.yard import Yard

SETTLE_S_MAX = 10.0
MORE_MAX: Mapping[str, int] = {"thread ": 8}
"""What may come on top, by the beginning of the kind: gRPC opens connections and threads as it thinks fit, and pools
grow to their size."""
_NUMBERS = re.compile(r"\d+")
_PORT = re.compile(rb"metrics_served .*\bport=(\d+)")
_TAKES_PART = re.compile(r"beeyard_(asyncio_tasks|rpc_in_flight)")
_DATABASE = "state.db"
"""Grows and shrinks by itself, with the files beside it."""


class Footprint(collections.Counter[str]):
    """How many there are of each kind."""

    def grown_since(self, before: Footprint) -> dict[str, int]:
        """Return what there is more of, beyond what may be."""
        more = {kind: self[kind] - before[kind] for kind in self if self[kind] > before[kind]}
        for beginning, allowed in MORE_MAX.items():
            kinds = [kind for kind in more if kind.startswith(beginning)]
            if sum(more[kind] for kind in kinds) <= allowed:
                for kind in kinds:
                    del more[kind]
        return more


async def footprint(yard: Yard) -> Footprint:
    """Look at a node whose daemon runs, with its metrics served (`METRICS`)."""
    return await asyncio.to_thread(_look, yard)


async def grown(yard: Yard, before: Footprint) -> dict[str, int]:
    """Return what there is more of, once that does not change for the better any more. Empty is good."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S_MAX
    while more := (await footprint(yard)).grown_since(before):
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(0.05)
    return more


METRICS = {"metrics_listen": "127.0.0.1:0"}
"""Settings of a daemon whose footprint is looked at."""


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _look(yard: Yard) -> Footprint:
    assert yard.process is not None
    pid = yard.process.pid
    found = Footprint(_under_way(yard.log))
    found.update(f"file {kind}" for kind in _open_files(pid))
    views: dict[str, list[str]] = {}
    for task in (Path("/proc/self"), *Path(f"/proc/{pid}/task").iterdir()):
        with contextlib.suppress(OSError):
            views[os.readlink(task / "ns/mnt")] = list(_mounts(task, yard.directory))
            if task.name == "self":
                continue
            found[f"thread {_NUMBERS.sub('', (task / 'comm').read_text().strip())}"] += 1
            found.update(f"child {_name(int(child))}" for child in (task / "children").read_text().split())
    for targets in views.values():
        found.update(f"mount {target}" for target in targets)
    processes = set(_processes(yard, pid))
    found.update(f"process {_name(process)}" for process in processes)
    found["network namespace"] = len(set(_network_namespaces(yard, [pid, *processes])))
    found.update(
        f"cgroup {group.relative_to(groups.CGROUP_ROOT)}" for group in groups.whole(yard.cgroup_parent)
    )
    found.update(f"path {path}" for path in _paths(yard))
    return found


def _under_way(log: Path) -> Iterator[str]:
    """Yield what the daemon's gauges count, each as often as they say."""
    ports = _PORT.findall(log.read_bytes())
    assert ports, "the daemon does not serve metrics"
    connection = http.client.HTTPConnection("127.0.0.1", int(ports[-1]), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    for line in text.splitlines():
        if _TAKES_PART.match(line):
            name, _, value = line.rpartition(" ")
            yield from [name] * int(float(value))


def _open_files(pid: int) -> Iterator[str]:
    """Yield what each open file of a process is; sockets by their family, and address where they have one."""
    sockets = _sockets(pid)
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            yield sockets.get(target, _NUMBERS.sub("", target))


def _sockets(pid: int) -> dict[str, str]:
    """Return the sockets of a process's network namespace, by the targets of their links."""
    found: dict[str, str] = {}
    for family, column in (("unix", 6), ("tcp", 9), ("tcp6", 9), ("netlink", 9)):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            words = line.split()
            address = words[7] if family == "unix" and len(words) > 7 else ""
            found[f"socket:[{words[column]}]"] = f"socket {family} {address}".rstrip()
    return found


def _name(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "gone"
    name = text[text.index("(") + 1 : text.rindex(")")]
    return f"{name} (zombie)" if text.rpartition(")")[2].split()[0] == "Z" else name


def _mounts(process: Path, directory: Path) -> Iterator[str]:
    """Yield the mounts below a directory, as a process or thread sees them."""
    for line in (process / "mountinfo").read_text().splitlines():
        target = line.split(" ")[4]
        if target.startswith(f"{directory}/"):
            yield target


def _processes(yard: Yard, daemon: int) -> Iterator[int]:
    """Yield all processes that belong to the node, zombies included: by ancestor, group, command line or directory."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) in (daemon, os.getpid()):
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (
                f"/{yard.cgroup_parent}" in (entry / "cgroup").read_text()
                or os.fsencode(f"{yard.directory}/") in (entry / "cmdline").read_bytes()
                or os.readlink(entry / "cwd").startswith(f"{yard.directory}/")
            ):
                yield pid
    for pid in parents:
        ancestor = pid
        while ancestor := parents.get(ancestor, 0):
            if ancestor == daemon:
                yield pid


def _network_namespaces(yard: Yard, pids: list[int]) -> Iterator[str]:
    """Yield what names each network namespace that somebody on the node is in, or that netd holds."""
    for pid in pids:
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/ns/net")
    for held in yard.netd.directory.glob("*/ns"):
        with contextlib.suppress(OSError):
            yield f"net:[{held.stat().st_ino}]"


def _paths(yard: Yard) -> Iterator[str]:
    """Yield the files and directories of a node, but not what is in the mounts of its containers."""
    bundles = f"{yard.run}/containerd/c/"
    mounts = {target for target in _mounts(Path("/proc/self"), yard.directory) if target.startswith(bundles)}
    for top in (yard.run, yard.root, yard.netd.directory, yard.imaged.directory / "layers"):
        for place, below, files in os.walk(top):
            below[:] = [name for name in below if f"{place}/{name}" not in mounts]
            for name in (*below, *files):
                if not name.startswith(_DATABASE):
                    yield str(Path(place, name).relative_to(yard.directory))
