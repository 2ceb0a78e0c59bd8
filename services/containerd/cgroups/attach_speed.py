"""The `favordynmods` option of a cgroup root: moving a process into a group without waiting for a grace period.

After a quarter of a second without such a move, the next one waits some 15 ms for RCU; an idle daemon pays that on
every start. With the option it does not. The price is a slightly slower fork and exit; on some kernels it lasts until
the next reboot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.containerd.kernel.mountinfo import MountPoint

_log = log.get(__name__)
_KEPT = ("nsdelegate", "memory_recursiveprot", "memory_localevents")
"""Options of the unified hierarchy that a remount would otherwise drop."""


def plan(mounts: Iterable[MountPoint]) -> tuple[str, str] | None:
    """Return the mount point to be remounted and its options, None if there is nothing to do. Pure."""
    for mount in mounts:
        if mount.kind == "cgroup2" and mount.target.startswith("/sys/fs/cgroup"):
            options = mount.super_options.split(",")
            if "favordynmods" in options:
                return None
            return mount.target, ",".join([*(name for name in _KEPT if name in options), "favordynmods"])
    return None


def apply(mounts: Iterable[MountPoint], setting: str) -> None:
    """Do it unless the setting is "off". Never fails: it is an optimisation."""
    if setting == "off":
        return
    planned = plan(mounts)
    if planned is None:
        return
    target, options = planned
    try:
        syscalls.mount("none", target, "cgroup2", syscalls.MS_REMOUNT | syscalls.MS_RELATIME, options)
    except OSError as exc:
        _log.info("favordynmods_unavailable", error=exc.strerror)
    else:
        _log.info("favordynmods_enabled", target=target)
