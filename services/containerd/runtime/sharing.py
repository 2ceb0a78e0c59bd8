"""The bundles' directory as a shared mount.

A runtime may have to live in a mount namespace of its own (`runtime.spawn`), and every conmon keeps the namespace that
it was started in. Root file systems are mounted in the host's namespace by the daemon; that they appear in those
others, and go from them when they are unmounted, is what a shared mount is for. Where the directory lies on a shared
mount already (systemd makes `/` one) nothing is done. Else it becomes a mount of its own: bound to itself and shared.

The mount outlives the daemon, as the containers do. `release` takes it down with everything below: for the removal of
a node, when no daemon of it runs (`python -m services.containerd.runtime.sharing DIR`, or `umount -R DIR`).
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from services.containerd.kernel import mountinfo, syscalls
from services.kit import errors

_REPEATS_MAX = 64


def ensure(directory: Path) -> bool:
    """Make sure that `directory` lies on a shared mount; return whether something had to be done. Idempotent."""
    target = str(directory.resolve())
    if _holding(target).shared:
        return False
    syscalls.mount(target, target, "", syscalls.MS_BIND | syscalls.MS_REC)
    try:
        syscalls.mount("", target, "", syscalls.MS_SHARED)
    except OSError:
        syscalls.umount(target, syscalls.MNT_DETACH)
        raise
    return True


def release(directory: Path) -> None:
    """Unmount everything below `directory`, then the directory itself if it is a mount. Idempotent."""
    target = str(directory.resolve())
    for _ in range(_REPEATS_MAX):
        mounts = mountinfo.read()
        stack = [*mountinfo.below(mounts, target), *(mount for mount in mounts if mount.target == target)]
        if not stack:
            return
        for mount in stack:
            unmount(mount.target)


def unmount(target: str | Path) -> bool:
    """Unmount one target; return whether something was mounted. A busy one is detached: it goes with its last user."""
    try:
        syscalls.umount(target)
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOENT):  # no mount, or no such directory
            return False
        if exc.errno != errno.EBUSY:
            raise
        syscalls.umount(target, syscalls.UMOUNT_NOFOLLOW | syscalls.MNT_DETACH)
    return True


def _holding(target: str) -> mountinfo.MountPoint:
    found = mountinfo.holding(mountinfo.read(), target)
    if found is None:
        raise errors.Internal(f"no mount holds {target}: /proc/self/mountinfo is not readable as expected")
    return found


if __name__ == "__main__":
    release(Path(sys.argv[1]))
