"""Copies out of and into containers, whether they run or not, and their exports.

A container that runs is seen as its processes see it, with volumes and everything they have mounted: through the root
of its init, which is proven to be the recorded process. One that does not run is mounted for the copy alone, with its
volumes and binds.

A start mounts the same layer again, and a removal takes it away. So both wait a moment for the copies that go on, and
then end them: whoever copies slowly must not keep a container from starting.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.files.archive.packing import Packing
from services.containerd.files.archive.unpacking import Unpacking
from services.containerd.files.jobs import Assembly, Bind
from services.containerd.files.transfers import Interruption, Place, Root, open_root
from services.containerd.kernel import processes, trees
from services.containerd.lifecycle import faults
from services.containerd.model import idmap
from services.containerd.model.spec import MountKind
from services.containerd.model.status import Phase
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from services.containerd.files.archive.packing import Stat
    from services.containerd.files.archive.unpacking import Unpacked
    from services.containerd.files.transfers import Transfers
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.model.status import ProcessRef, Record
    from services.containerd.neighbours.images import Images
    from services.containerd.runtime.layout import Layout
    from services.containerd.volumes.volumes import Volumes
    from services.kit.seams import Clock
    from services.kit.tar.ids import IdMap

GRACE_S = 5.0
"""How long a start or a removal waits for copies."""
SETTLE_S = 30.0
_POLL_S = 0.02
_OF_THE_ENGINE = ("/dev",)
"""What the engine mounts and fills: its content is no part of a copy of what holds it."""


class ContainerFiles:
    """Files of containers."""

    def __init__(
        self, transfers: Transfers, images: Images, volumes: Volumes, layout: Layout, clock: Clock
    ) -> None:
        self._transfers = transfers
        self._images = images
        self._volumes = volumes
        self._layout = layout
        self._clock = clock
        self._copies: collections.defaultdict[str, set[Interruption]] = collections.defaultdict(set)

    async def look(self, actor: Actor, path: str, *, follow: bool) -> Stat:
        """Return what is at a path.

        Raises:
            errors.BeeyardError: See CopyOut.
        """
        async with self._copying(actor) as copy, self._seen(actor) as (place, _):
            return await self._transfers.look(place, path, copy, follow=follow)

    async def read(self, actor: Actor, path: str, *, follow: bool) -> AsyncGenerator[Stat | bytes, None]:
        """Yield what is at a path, then its archive. Close it if you leave early.

        Raises:
            errors.BeeyardError: See CopyOut.
        """
        async with self._copying(actor) as copy, self._seen(actor) as (place, ids):
            packing = Packing(follow=follow, hollow=_OF_THE_ENGINE, ids=ids)
            async with contextlib.aclosing(self._transfers.read(place, path, packing, copy)) as parts:
                async for part in parts:
                    yield part

    async def write(
        self,
        actor: Actor,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        keep_owner: bool,
        refuse_other_kind: bool,
    ) -> Unpacked:
        """Unpack an archive into a directory.

        Raises:
            errors.BeeyardError: See CopyIn.
        """
        async with self._copying(actor) as copy, self._seen(actor) as (place, ids):
            unpacking = Unpacking(keep_owner=keep_owner, refuse_other_kind=refuse_other_kind, ids=ids)
            try:
                return await self._transfers.write(place, path, unpacking, chunks, copy)
            except errors.FailedPrecondition as exc:
                raise _told_as_docker_does(exc, actor.record, path) from exc

    async def export(self, actor: Actor) -> AsyncGenerator[bytes, None]:
        """Yield the archive of a container's own file system: what is mounted in it is left out.

        Raises:
            errors.BeeyardError: See ExportContainer.
        """
        async with self._copying(actor) as copy, self._bare(actor) as (place, ids):
            packing = Packing(one_file_system=True, with_top=False, ids=ids)
            async with contextlib.aclosing(self._transfers.read(place, "/", packing, copy)) as parts:
                async for part in parts:
                    if isinstance(part, bytes):
                        yield part

    async def interrupt(self, container_id: str) -> None:
        """Return when no copy of a container goes on: after a moment, they are ended."""
        copies = tuple(self._copies.get(container_id, ()))
        try:
            async with asyncio.timeout(GRACE_S):
                for copy in copies:
                    await copy.ended.wait()
        except TimeoutError:
            for copy in copies:
                copy.interrupt()
        for copy in copies:
            await copy.ended.wait()

    @contextlib.asynccontextmanager
    async def _copying(self, actor: Actor) -> AsyncIterator[Interruption]:
        """Note a copy while it lasts, so that a start or removal can end it."""
        record = actor.record
        await self._settled(actor)
        copy = Interruption(
            errors.FailedPrecondition(
                f"container {record.name} was started or removed before the copy was complete",
                reason="COPY_INTERRUPTED",
            )
        )
        self._copies[record.id].add(copy)
        try:
            yield copy
        finally:
            copy.ended.set()
            self._copies[record.id].discard(copy)
            if not self._copies[record.id]:
                del self._copies[record.id]

    async def _settled(self, actor: Actor) -> None:
        """Return when it either runs or does not, and neither starts nor ends."""
        give_up_at = self._clock.monotonic() + SETTLE_S
        while True:
            status = actor.status
            if status.phase in (Phase.REMOVING, Phase.PREPARING):
                raise errors.FailedPrecondition(
                    f"container {actor.record.name} is being removed", reason="CONTAINER_REMOVING"
                )
            if status.phase is Phase.IDLE:
                return
            if status.phase is Phase.UP and status.run is not None and processes.alive(status.run.init):
                return
            if self._clock.monotonic() > give_up_at:
                raise errors.FailedPrecondition(
                    f"container {actor.record.name} starts or ends; try again", reason="CONTAINER_BUSY"
                )
            await self._clock.sleep(_POLL_S)

    @contextlib.asynccontextmanager
    async def _seen(self, actor: Actor) -> AsyncIterator[tuple[Place, IdMap]]:
        """Yield the root as the container's processes see it, or would."""
        run = actor.status.run
        if run is not None:
            root = _open_root_of(run.init, actor.record)
            faults.reached("cp.opened")
            yield root, idmap.mapping(actor.record.status.ids)
            return
        async with self._binds(actor.record) as binds:
            assembly = await self._assembly(actor.record, binds)
            faults.reached("cp.opened")
            yield assembly, idmap.mapping(actor.record.status.ids)

    @contextlib.asynccontextmanager
    async def _bare(self, actor: Actor) -> AsyncIterator[tuple[Place, IdMap]]:
        """Yield the root without anything that is mounted in it."""
        rootfs = self._layout.bundle(actor.record.id).rootfs
        if actor.status.run is None or not rootfs.is_dir():
            yield await self._assembly(actor.record, ()), idmap.mapping(actor.record.status.ids)
            return
        yield Root(trees.clone(rootfs)), idmap.mapping(actor.record.status.ids)

    async def _assembly(self, record: Record, binds: tuple[Bind, ...]) -> Assembly:
        return Assembly(
            mounts=await self._images.mounts(record.id),
            binds=binds,
            directory=str(self._layout.directory(record.id)),
            read_only=record.spec.security.read_only_root,
            ids=record.status.ids,
        )

    @contextlib.asynccontextmanager
    async def _binds(self, record: Record) -> AsyncIterator[tuple[Bind, ...]]:
        """Yield the volumes and binds of a container that does not run; what is missing on the host is left out."""
        holder = f"{record.id}/files"
        async with contextlib.AsyncExitStack() as held:
            binds: list[Bind] = []
            for point in record.mounts:
                mount = point.mount
                source: str | Path = mount.source
                if mount.kind is MountKind.VOLUME:
                    source = await held.enter_async_context(self._held(mount.source, holder))
                    if mount.volume_subpath:
                        continue  # the part is looked up at the start, and the whole is not what the container sees
                elif mount.kind is not MountKind.BIND or not os.path.exists(mount.source):  # noqa: PTH110
                    continue
                binds.append(
                    Bind(
                        source=str(source),
                        target=mount.target,
                        read_only=mount.read_only,
                        recursive=mount.bind_recursive != "disabled",
                        with_ids=mount.kind is MountKind.VOLUME,
                    )
                )
            yield tuple(binds)

    @contextlib.asynccontextmanager
    async def _held(self, name: str, holder: str) -> AsyncIterator[Path]:
        async with self._volumes.turn(name):
            place = await self._volumes.hold(name, holder)
        try:
            yield place
        finally:
            async with self._volumes.turn(name):
                await self._volumes.let_go(name, holder)


def _open_root_of(init: ProcessRef, record: Record) -> Root:
    """Return the root of a process, proven to be that of exactly this one."""
    gone = errors.FailedPrecondition(
        f"container {record.name} has just ended; try again", reason="CONTAINER_BUSY"
    )
    try:
        root = Root(open_root(f"/proc/{init.pid}/root"))
    except OSError as exc:
        raise gone from exc
    if not processes.alive(
        init
    ):  # by its start time: a pid is used again, and then that was somebody else's root
        root.close()
        raise gone
    return root


def _told_as_docker_does(
    exc: errors.FailedPrecondition, record: Record, path: str
) -> errors.FailedPrecondition:
    """Return the error with Docker's words where something is read-only."""
    if exc.reason != "READ_ONLY":
        return exc
    wanted = f"/{path.strip('/')}/"
    in_volume = any(wanted.startswith(f"{point.mount.target.rstrip('/')}/") for point in record.mounts)
    what = "mounted volume" if in_volume or not record.spec.security.read_only_root else "container rootfs"
    return errors.FailedPrecondition(f"{what} is marked read-only", reason=exc.reason)
