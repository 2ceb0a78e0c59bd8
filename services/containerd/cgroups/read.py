"""One sample of what a control group uses: a handful of small files, 0.1 ms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.cgroups import parse

if TYPE_CHECKING:
    from services.containerd.cgroups.hierarchy import Hierarchies

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counters grow from the group's start; a controller that is not there counts as nothing."""

    cpu_ns: int = 0
    throttled_count: int = 0
    throttled_ns: int = 0
    memory_bytes: int = 0
    """Without page cache that could be dropped, as Docker shows it."""
    memory_limit_bytes: int = 0
    """0 for no limit."""
    pids: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


def usage(hierarchies: Hierarchies, cgroup: str, pid: int) -> Usage:
    """Return what a group uses; `pid` is any process in its network namespace, 0 for none."""
    files = _Files(hierarchies, cgroup)
    received, sent = parse.network(_text(Path(f"/proc/{pid}/net/dev"))) if pid else (0, 0)
    return (
        _version_1(files, received, sent) if hierarchies.version == 1 else _version_2(files, received, sent)
    )


def system_cpu_ns() -> int:
    """Return the processor time of the whole machine."""
    return parse.system_ticks(_text(Path("/proc/stat"))) * _NS_PER_TICK


class _Files:
    def __init__(self, hierarchies: Hierarchies, cgroup: str) -> None:
        self._hierarchies = hierarchies
        self._cgroup = cgroup

    def text(self, controller: str, name: str) -> str:
        """Return the text of a file, empty where there is none."""
        directory = self._hierarchies.directory(controller, self._cgroup)
        return "" if directory is None else _text(directory / name)


def _version_1(files: _Files, received: int, sent: int) -> Usage:
    memory = parse.flat(files.text("memory", "memory.stat"))
    cpu = parse.flat(files.text("cpu", "cpu.stat"))
    read, written = parse.block_io_v1(files.text("blkio", "blkio.throttle.io_service_bytes_recursive"))
    used = parse.number(files.text("memory", "memory.usage_in_bytes"))
    return Usage(
        cpu_ns=parse.number(files.text("cpuacct", "cpuacct.usage")),
        throttled_count=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_time", 0),
        memory_bytes=max(used - memory.get("total_inactive_file", 0), 0),
        memory_limit_bytes=parse.limit(files.text("memory", "memory.limit_in_bytes")),
        pids=parse.number(files.text("pids", "pids.current")),
        read_bytes=read,
        written_bytes=written,
        received_bytes=received,
        sent_bytes=sent,
    )


def _version_2(files: _Files, received: int, sent: int) -> Usage:
    memory = parse.flat(files.text("memory", "memory.stat"))
    cpu = parse.flat(files.text("cpu", "cpu.stat"))
    read, written = parse.block_io_v2(files.text("io", "io.stat"))
    used = parse.number(files.text("memory", "memory.current"))
    return Usage(
        cpu_ns=cpu.get("usage_usec", 0) * 1000,
        throttled_count=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        memory_bytes=max(used - memory.get("inactive_file", 0), 0),
        memory_limit_bytes=parse.limit(files.text("memory", "memory.max")),
        pids=parse.number(files.text("pids", "pids.current")),
        read_bytes=read,
        written_bytes=written,
        received_bytes=received,
        sent_bytes=sent,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
