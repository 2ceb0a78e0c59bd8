"""New volumes with the content of something else: it is put together aside and becomes the volume in one step.

The record says `receiving` before anything is made, so that after a crash nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.lifecycle import faults
from services.containerd.volumes import threads, tree
from services.containerd.volumes.core import volume
from services.containerd.volumes.core.volume import Stage, Wanted
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.volumes.core.volume import Volume
    from services.containerd.volumes.local import LocalDriver
    from services.containerd.volumes.volumes import Volumes
    from services.kit.seams import NewId

_DATA = "_data"
CLONES_MAX = 4
"""At work at the same time; who comes later waits."""


class Copies:
    """Clones volumes, and receives others."""

    def __init__(self, volumes: Volumes, driver: LocalDriver, new_id: NewId) -> None:
        self._volumes = volumes
        self._driver = driver
        self._new_id = new_id
        self._cloning = threads.Threads("clone", CLONES_MAX)

    async def clone(self, source: str, target: str) -> Volume:
        """Make a plain volume with the labels and the content of another one, which may be in use meanwhile.

        Raises:
            errors.NotFound: There is no such source.
            errors.AlreadyExists: The target exists (VOLUME_EXISTS).
        """
        labels = self._volumes.find(source).labels
        if target in (found.name for found in self._volumes.all()):
            raise errors.AlreadyExists(f"a volume named {target} exists already", reason="VOLUME_EXISTS")
        async with (
            self._cloning.slot() as executor,
            self.reading(source) as place,
            self.receiving(Wanted(name=target, labels=labels)) as aside,
        ):
            left = threading.Event()
            copying = executor.submit(_copy, place, aside, left)
            await threads.to_end(asyncio.wrap_future(copying), left.set)
        return self._volumes.find(target)

    @contextlib.asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[Path]:
        """Yield where the content of a volume is; it stays mounted and is not removed meanwhile."""
        reader = f"reader-{self._new_id()}"
        async with self._volumes.turn(name):
            place = await self._volumes.hold(name, reader)
        try:
            yield place
        finally:
            async with self._volumes.turn(name):
                await self._volumes.let_go(name, reader)

    @contextlib.asynccontextmanager
    async def receiving(self, wanted: Wanted) -> AsyncIterator[Path]:
        """Yield an empty directory that becomes the content of a volume when the block ends well: a new or empty one.

        Raises:
            errors.FailedPrecondition: It is in use, mounted from elsewhere, or has content (VOLUME_NOT_EMPTY).
        """
        volume.check(wanted)
        name = wanted.name
        aside = self._driver.aside(f"receiving-{self._new_id()}")
        async with self._volumes.turn(name):
            made = not self._volumes.exists(name)
            if made:
                await self._volumes.record(wanted, Stage.RECEIVING)
            else:
                await self._check_empty(name)
        faults.reached("volume.received")
        try:
            await threads.in_thread(_make, aside / _DATA)
            yield aside / _DATA
            async with self._volumes.turn(name):
                if not made:
                    await self._check_empty(name)
                await threads.in_thread(self._driver.install, aside, name)
                faults.reached("volume.installed")
                await self._volumes.set_stage(name, Stage.READY)
        except BaseException:
            await threads.to_end(self._give_up(aside, name, made=made))
            raise

    async def _give_up(self, aside: Path, name: str, *, made: bool) -> None:
        """Remove what is aside; the name is free again even if something there resists."""
        try:
            await threads.in_thread(self._driver.drop_aside, aside.name)
        finally:
            if made:
                await self._volumes.abandon(name)

    async def _check_empty(self, name: str) -> None:
        found = self._volumes.find(name)
        if found.options:
            raise errors.Unsupported(
                f"volume {name} is mounted from {found.options.get('device')}: import into a plain one",
                reason="VOLUME_NOT_PLAIN",
            )
        if self._volumes.holders(name):
            raise errors.FailedPrecondition(f"volume {name} is in use", reason="VOLUME_IN_USE")
        place = self._driver.place(found)
        if place.is_dir() and not await threads.in_thread(_is_empty, place):
            raise errors.FailedPrecondition(f"volume {name} is not empty", reason="VOLUME_NOT_EMPTY")


def _make(directory: Path) -> None:
    directory.parent.mkdir(mode=0o700)
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)


def _copy(source: Path, target: Path, left: threading.Event) -> None:
    def check() -> None:
        if left.is_set():
            raise errors.Unavailable("the copy was given up", reason="CANCELLED")

    with tree.opened(source) as source_fd, tree.opened(target) as target_fd:
        tree.copy(source_fd, target_fd, check=check)


def _is_empty(directory: Path) -> bool:
    with tree.opened(directory) as fd:
        return tree.is_empty(fd)
