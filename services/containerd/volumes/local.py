"""The local driver: a directory of the node, or something that is mounted while containers use it.

A plain volume is `<volumes>/<name>/_data`. Others are mounted below the shared mount of the bundles, so that every
runtime and conmon sees them come and go. What is no coroutine here blocks (for worker threads);
everything is idempotent. What may wait for a server takes no thread from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import mountinfo, syscalls
from services.containerd.runtime import sharing
from services.containerd.volumes import attaching, threads, tree
from services.containerd.volumes.core import local_options
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.runtime.layout import Layout
    from services.containerd.volumes.core.volume import Volume

_DATA = "_data"
ASIDE = "."
"""Begins the names of directories that are being filled or emptied: no volume's name begins so."""
UNMOUNTS_MAX = 8
"""At work at the same time, in threads of their own: one may wait for its server."""
MOUNT_TIMEOUT_S = 30.0
"""For a server that does not answer."""


class LocalDriver:
    """Makes, mounts and removes what is behind volumes."""

    def __init__(self, layout: Layout) -> None:
        self.directory = layout.volume_data
        """Returns where the content of a plain volume is."""
        self._volumes = layout.volumes
        self._mounts = layout.volume_mounts
        self._unmounting = threads.Threads("volume-unmount", UNMOUNTS_MAX)
        self._naming = threading.Lock()
        """The last unmount removes the directory that the next mount needs. Nobody waits for a server inside."""

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

    async def mount(self, volume: Volume) -> Path:
        """Make the content accessible; return where it is. Nobody else mounts or unmounts this volume meanwhile.

        Raises:
            errors.FailedPrecondition: The kernel refuses (VOLUME_MOUNT_FAILED); the message has its reason.
        """
        mounting = local_options.parse(volume.options)
        if mounting is None:
            await threads.in_thread(self.make, volume)
            return self.directory(volume.name)
        target = self._mounts / volume.name
        if target.name in await threads.in_thread(self.mounted):
            return target
        try:
            await threads.in_thread(self._make_target, target)
            reason = await attaching.attach(mounting, target, timeout_s=MOUNT_TIMEOUT_S)
        except BaseException:
            await self.unmount(volume.name)
            raise
        if reason:
            await self.unmount(volume.name)
            raise errors.FailedPrecondition(
                f"error while mounting volume {volume.name!r}: failed to mount local volume: mount"
                f" {mounting.device}:{target}, data: {','.join(mounting.data)}: {reason}",
                reason="VOLUME_MOUNT_FAILED",
                metadata={"volume": volume.name},
            )
        return target

    async def unmount(self, name: str) -> None:
        """Unmount a volume; one that is not mounted is fine."""
        async with self._unmounting.slot() as executor:
            await threads.to_end(asyncio.wrap_future(executor.submit(self._unmount, self._mounts / name)))

    def mounted(self) -> frozenset[str]:
        """Return the names of the volumes that are mounted."""
        if not self._mounts.is_dir():
            return frozenset()
        directory = str(self._mounts.resolve())
        below = mountinfo.below(mountinfo.read(), directory)
        return frozenset(
            path.name for mount in below if (path := Path(mount.target)).parent == Path(directory)
        )

    async def delete(self, volume: Volume) -> None:
        """Remove a volume and what is in it."""
        if volume.options:
            await self.unmount(volume.name)
        await threads.in_thread(remove_tree, self._volumes / volume.name)

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

    def _make_target(self, target: Path) -> None:
        with self._naming:
            target.mkdir(mode=0o755, parents=True, exist_ok=True)

    def _unmount(self, target: Path) -> None:
        while sharing.unmount(target):
            pass
        with self._naming:
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
