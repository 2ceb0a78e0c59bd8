"""The user namespace of a run: made or joined, and held by a file of its bundle. Blocks: for worker threads.

A file that is bound to a namespace keeps it alive without a process. netd, the mounts of the root and the runtime all
take it from there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.kit import errors, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.containerd.model.idmap import IdMap

_OTHERS_MAY_PASS = 0o001


def make(target: Path, ids: IdMap) -> None:
    """Make a user namespace with these ids, held by `target`.

    Raises:
        errors.FailedPrecondition: The kernel allows none (NAMESPACE_FAILED).
        OSError: The ids or the file cannot be had.
    """
    with _process(ids) as pid:
        join(target, pid)


def opened(ids: IdMap) -> int:
    """Return a descriptor of a new user namespace with these ids, which is gone with it.

    Raises:
        errors.FailedPrecondition: The kernel allows none (NAMESPACE_FAILED).
        OSError: The ids cannot be had.
    """
    with _process(ids) as pid:
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def join(target: Path, pid: int) -> None:
    """Hold the user namespace of a process by `target` too."""
    target.touch(mode=0o444)
    syscalls.mount(f"/proc/{pid}/ns/user", target, "", syscalls.MS_BIND)


@contextlib.contextmanager
def _process(ids: IdMap) -> Iterator[int]:
    """Yield the pid of a process in a new user namespace with these ids."""
    with namespaces.process_with_user() as pid:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {ids.start} {ids.size}\n", encoding="ascii")
        yield pid


def admit(directories: tuple[Path, ...], bundle: Path, gid: int) -> None:
    """Let the root of a user namespace reach its bundle, and nobody else of the node.

    It is no root to the directories on the way to its root file system: they let everybody pass whose way it is, and
    the bundle lets pass its group.

    Raises:
        errors.FailedPrecondition: A directory above ours lets nobody pass (USERNS_PATH_CLOSED).
    """
    for directory in directories:
        directory.chmod(directory.stat().st_mode | _OTHERS_MAY_PASS)
    os.chown(bundle, 0, gid)
    bundle.chmod(0o710)
    for parent in directories[0].parents:
        if not parent.stat().st_mode & _OTHERS_MAY_PASS:
            raise errors.FailedPrecondition(
                f"a container with a user namespace cannot reach its files: {parent} lets only its owner pass"
                f" (chmod o+x {parent}, or set `run` to another directory)",
                reason="USERNS_PATH_CLOSED",
            )


def give_streams(pid: int, uid: int, gid: int) -> None:
    """Give the pipes that are a process's standard streams to a user, so that it may open them again by name.

    A runtime does that itself where it may: not from inside a user namespace. Anything but a pipe stays as it is.
    """
    for number in range(3):
        stream = Path(f"/proc/{pid}/fd/{number}")
        try:
            if stat.S_ISFIFO(stream.stat().st_mode):
                os.chown(stream, uid, gid)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ESRCH):
                raise
