"""The local driver: a directory of the node, or something that is mounted while containers use it.

A plain volume is `<volumes>/<name>/_data`. Others are mounted below the shared mount of the bundles, so that every
runtime and conmon sees them come and go. Everything here blocks (for worker threads) and is idempotent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import mountinfo, syscalls
from services.containerd.runtime import sharing
from services.containerd.volumes import tree
from services.containerd.volumes.core import local_options
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.runtime.layout import Layout
    from services.containerd.volumes.core.local_options import Mounting
    from services.containerd.volumes.core.volume import Volume

_DATA = "_data"
ASIDE = "."
"""Begins the names of directories that are being filled or emptied: no volume's name begins so."""
_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
}
_FILESYSTEMS = Path("/proc/filesystems")


class LocalDriver:
    """Makes, mounts and removes what is behind volumes."""

    def __init__(self, layout: Layout) -> None:
        self.directory = layout.volume_data
        """Returns where the content of a plain volume is."""
        self._volumes = layout.volumes
        self._mounts = layout.volume_mounts
        self._mounting = threading.Lock()
        """The last unmount removes the directory that the next mount needs."""

    def place(self, volume: Volume) -> Path:
        """Return where the content is, or will be."""
        if local_options.parse(volume.options) is None:
            return self.directory(volume.name)
        return self._mounts / volume.name

    def size_bytes(self, volume: Volume) -> int:
        """Return the bytes of the disk that go with a volume: none if its content is mounted from elsewhere."""
        if local_options.parse(volume.options) is not None:
            return 0
        return tree.size_bytes(self.directory(volume.name))

    def make(self, volume: Volume) -> None:
        """Make the directory of a plain volume."""
        if local_options.parse(volume.options) is None:
            directory = self.directory(volume.name)
            directory.parent.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o755)
                directory.chmod(0o755)  # whatever the umask

    def mount(self, volume: Volume) -> Path:
        """Make the content accessible; return where it is.

        Raises:
            errors.FailedPrecondition: The kernel refuses (VOLUME_MOUNT_FAILED); the message has its reason.
        """
        mounting = local_options.parse(volume.options)
        if mounting is None:
            self.make(volume)
            return self.directory(volume.name)
        target = self._mounts / volume.name
        try:
            with self._mounting:
                self._mount_once(mounting, target)
        except OSError as exc:
            raise errors.FailedPrecondition(
                f"error while mounting volume {volume.name!r}: failed to mount local volume: mount"
                f" {mounting.device}:{target}, data: {','.join(mounting.data)}: {_reason(mounting, exc)}",
                reason="VOLUME_MOUNT_FAILED",
                metadata={"volume": volume.name},
            ) from exc
        return target

    def _mount_once(self, mounting: Mounting, target: Path) -> None:
        if target.name in self.mounted():
            return
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            _mount(mounting, target)
        except OSError:
            self._unmount(target)
            raise

    def unmount(self, name: str) -> None:
        """Unmount a volume; one that is not mounted is fine."""
        with self._mounting:
            self._unmount(self._mounts / name)

    def mounted(self) -> frozenset[str]:
        """Return the names of the volumes that are mounted."""
        if not self._mounts.is_dir():
            return frozenset()
        directory = str(self._mounts.resolve())
        below = mountinfo.below(mountinfo.read(), directory)
        return frozenset(
            path.name for mount in below if (path := Path(mount.target)).parent == Path(directory)
        )

    def delete(self, name: str) -> None:
        """Remove a volume and what is in it."""
        self.unmount(name)
        remove_tree(self._volumes / name)

    def aside(self, name: str) -> Path:
        """Return a directory beside the volumes, on their file system, for what is not to be seen yet."""
        return self._volumes / f"{ASIDE}{name}"

    def install(self, aside: Path, name: str) -> None:
        """Make the directory `_data` in `aside` the content of a plain volume, in one step. What it has must be empty.

        After a power cut the volume has all of the content or none: the content is on the disk before its name is.

        Raises:
            errors.FailedPrecondition: It is not empty (VOLUME_NOT_EMPTY).
        """
        target = self.directory(name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        self._sync()
        try:
            (aside / _DATA).rename(target)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise errors.FailedPrecondition(
                f"volume {name} is not empty", reason="VOLUME_NOT_EMPTY", metadata={"volume": name}
            ) from exc
        self._sync()
        remove_tree(aside)

    def _sync(self) -> None:
        with tree.opened(self._volumes) as fd:
            syscalls.syncfs(fd)

    def found(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names of the directories of volumes, and of those that were left aside."""
        names = frozenset(
            entry.name for entry in os.scandir(self._volumes) if entry.is_dir(follow_symlinks=False)
        )
        left = frozenset(name for name in names if name.startswith(ASIDE))
        return names - left, left

    def drop_aside(self, name: str) -> None:
        """Remove a directory that was left aside."""
        remove_tree(self._volumes / name)

    def _unmount(self, target: Path) -> None:
        while sharing.unmount(target):
            pass
        for directory in (target, self._mounts):
            with contextlib.suppress(OSError):
                directory.rmdir()


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it; a missing one is fine.

    Raises:
        errors.Internal: Something resists (VOLUME_REMOVE_FAILED).
    """
    try:
        tree.remove(directory)
    except OSError as exc:
        raise errors.Internal(
            f"cannot remove {directory}: {exc.filename}: {exc.strerror}", reason="VOLUME_REMOVE_FAILED"
        ) from exc


def _mount(mounting: Mounting, target: Path) -> None:
    flags = 0
    for option in mounting.flags:
        flags |= _FLAGS.get(option, 0)
    data = ",".join(_resolved(mounting))
    if flags & syscalls.MS_BIND:
        syscalls.mount(mounting.device, target, "", flags & (syscalls.MS_BIND | syscalls.MS_REC))
        others = flags & ~(syscalls.MS_BIND | syscalls.MS_REC)
        if others:
            syscalls.mount("", target, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | others)
        return
    syscalls.mount(mounting.device, target, mounting.kind, flags, data)


def _resolved(mounting: Mounting) -> list[str]:
    """Return the options for the file system; a host name in `addr=` becomes an address, as mount.nfs would do it."""
    if not mounting.server:
        return list(mounting.data)
    address = socket.getaddrinfo(mounting.server, None, type=socket.SOCK_STREAM)[0][4][0]
    return [f"addr={address}" if option.startswith("addr=") else option for option in mounting.data]


def _reason(mounting: Mounting, exc: OSError) -> str:
    """Return why not, in the words that lead to what is missing."""
    if isinstance(exc, socket.gaierror):
        return f"cannot resolve {mounting.server}: {exc.strerror}"
    binds = {"bind", "rbind"} & {*mounting.flags}
    if not binds and exc.errno == errno.ENODEV and mounting.kind not in _known_filesystems():
        return f"no such device: this kernel does not know the file system {mounting.kind!r}"
    return (exc.strerror or str(exc)).lower()


def _known_filesystems() -> frozenset[str]:
    return frozenset(
        line.split()[-1] for line in _FILESYSTEMS.read_text(encoding="ascii").splitlines() if line
    )
