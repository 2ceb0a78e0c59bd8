"""A /dev/null of its own for a container with a user namespace that crun runs, and for one that is restored.

crun gives the standard streams of what it starts to the container's user, and up to 1.14 also a /dev/null among them:
the node's, which the container sees too. Its root could then lock everybody on the node out of /dev/null. So what we
start for such a container sees another node in that place. The same where CRIU mounts the node's over files in /proc.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.containerd.runtime.layout import Bundle

_DEVICE = os.makedev(1, 3)
_BIND_AND_EXECUTE = 'mount --bind "$0" /dev/null && exec "$@" </dev/null'


def make(bundle: Bundle) -> None:
    """Make the node. It needs a file system of its own: where bundles lie, device nodes may not work."""
    bundle.null.parent.mkdir(mode=0o711, exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    syscalls.mount("tmpfs", bundle.null.parent, "tmpfs", flags, "mode=0711,size=4k")
    os.mknod(bundle.null, stat.S_IFCHR | 0o600, _DEVICE)
    bundle.null.chmod(0o666)


def wrap(arguments: Sequence[str], bundle: Bundle, *, private_namespace: bool) -> list[str]:
    """Return the command line with which a program sees the bundle's node as /dev/null, if the bundle has one.

    Args:
        arguments: The program's.
        bundle: Where the node is.
        private_namespace: Whether it is started in a mount namespace of ours, to whose mounts nobody listens.
    """
    if not bundle.null.exists():
        return list(arguments)
    return [
        "/usr/bin/unshare", "--mount", "--propagation", "unchanged" if private_namespace else "slave",
        "/bin/sh", "-c", _BIND_AND_EXECUTE, str(bundle.null), *arguments,
    ]  # fmt: skip
