"""Which cgroup hierarchies this machine has. Pure, from its mounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.kernel.mountinfo import MountPoint

_CONTROLLERS = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchies:
    """Mount points of the hierarchies below /sys/fs/cgroup."""

    v1: Mapping[str, Path] = field(default_factory=dict)
    """By controller; named hierarchies as "name=systemd"."""
    unified: Path | None = None

    @property
    def version(self) -> int:
        """1 where the controllers are on v1 hierarchies, 2 on the unified one only."""
        return 1 if _CONTROLLERS & self.v1.keys() else 2

    @property
    def hybrid(self) -> bool:
        """Both kinds are mounted."""
        return self.version == 1 and self.unified is not None

    def directories(self, cgroup: str) -> tuple[Path, ...]:
        """Return where a group has its directory, one per hierarchy."""
        relative = cgroup.lstrip("/")
        roots = dict.fromkeys([*self.v1.values(), *((self.unified,) if self.unified is not None else ())])
        return tuple(root / relative for root in roots)

    def directory(self, controller: str, cgroup: str) -> Path | None:
        """Return where the files of one controller are for a group, None if this machine has not got it."""
        root = self.unified if self.version == 2 else self.v1.get(controller)
        return None if root is None else root / cgroup.lstrip("/")


def find(mounts: Iterable[MountPoint]) -> Hierarchies:
    """Return the hierarchies among the mounts. Where one is mounted twice, the place below /sys/fs/cgroup counts."""
    v1: dict[str, Path] = {}
    unified: Path | None = None
    for mount in mounts:
        if not mount.target.startswith("/sys/fs/cgroup"):
            continue
        if mount.kind == "cgroup2":
            unified = Path(mount.target)
        elif mount.kind == "cgroup":
            for option in mount.super_options.split(","):
                if option in _CONTROLLERS or option.startswith("name="):
                    v1[option] = Path(mount.target)
    return Hierarchies(v1=v1, unified=unified)
