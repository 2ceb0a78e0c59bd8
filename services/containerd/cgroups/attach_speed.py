"""The `favordynmods` option of a cgroup root: moving a process into a group without waiting for a grace period.

After a quarter of a second without such a move, the next one waits some 15 ms for RCU; an idle daemon pays that on
every start. With the option it does not. The price is a slightly slower fork and exit; on some kernels it lasts until
the next reboot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.containerd.kernel.mountinfo import MountPoint

_log = log.get(__name__)
_KEPT = (
    "nsdelegate",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
)
"""Options of the unified hierarchy that a remount would otherwise drop."""
_KEPT_FLAGS = {
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "relatime": syscalls.MS_RELATIME,
    "noatime": syscalls.MS_NOATIME,
}
"""Those of its mount point, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remount:
    """What is to be mounted again, with everything that it has to keep."""

    target: str
    flags: int
    options: str


def plan(mounts: Iterable[MountPoint]) -> Remount | None:
    """Return the remount of the unified hierarchy, None if there is nothing to do. Pure."""
    for mount in mounts:
        if mount.kind == "cgroup2" and mount.target.startswith("/sys/fs/cgroup"):
            options = mount.super_options.split(",")
            if "favordynmods" in options:
                return None
            flags = sum(flag for name, flag in _KEPT_FLAGS.items() if name in mount.options.split(","))
            kept = [name for name in _KEPT if name in options]
            return Remount(target=mount.target, flags=flags, options=",".join([*kept, "favordynmods"]))
    return None


def apply(mounts: Iterable[MountPoint], setting: str) -> None:
    """Do it unless the setting is "off". Never fails: it is an optimisation."""
    if setting == "off":
        return
    planned = plan(mounts)
    if planned is None:
        return
    flags = syscalls.MS_REMOUNT | planned.flags
    try:
        syscalls.mount("none", planned.target, "cgroup2", flags, planned.options)
    except OSError as exc:
        _log.info("favordynmods_unavailable", error=exc.strerror)
    else:
        _log.info("favordynmods_enabled", target=planned.target)
