"""The volumes of the node: making, finding, holding and removing them.

Who has a volume is not counted anywhere: the mounts in the containers' records say it. Who *holds* one, so that it must
stay mounted, follows from their phases, and is known again after a crash. Calls about one volume take turns; a
container's record is written before its volumes are made, so a removal that takes its turn later sees it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from services.containerd.lifecycle import faults
from services.containerd.model import mounts
from services.containerd.model.events import Action
from services.containerd.model.status import Phase
from services.containerd.volumes.core import filters, volume
from services.containerd.volumes.core.volume import Stage, Volume, Wanted
from services.kit import errors, log
from services.kit.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from services.containerd.model.status import Record
    from services.containerd.volumes.local import LocalDriver
    from services.containerd.volumes.store import VolumeStore
    from services.kit.seams import Clock, NewId

VOLUMES_MAX = 100_000
_HOLDING = frozenset({Phase.STARTING, Phase.UP, Phase.CLEANING})
_log = log.get(__name__)


class Volumes:
    """The volumes.

    Args:
        store: Their records.
        driver: What is behind them.
        users: Returns the records of all containers, those under creation and removal included.
        publish: Takes events.
        new_id: Makes names of 64 hexadecimal digits.
    """

    def __init__(
        self,
        store: VolumeStore,
        driver: LocalDriver,
        *,
        users: Callable[[], Iterable[Record]],
        publish: Callable[[Event], None],
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._driver = driver
        self._users = users
        self._publish = publish
        self._clock = clock
        self.new_name = new_id
        self._volumes: dict[str, Volume] = {}
        self._holders: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    # ------------------------------------------------------------------------------------------------- finding

    def find(self, name: str) -> Volume:
        """Return a volume.

        Raises:
            errors.NotFound: There is none of that name (VOLUME_NOT_FOUND).
        """
        found = self._volumes.get(name)
        if found is None or found.stage in (Stage.RECEIVING, Stage.REMOVING):
            raise errors.NotFound(
                f"get {name[:80]}: no such volume", reason="VOLUME_NOT_FOUND", metadata={"volume": name[:80]}
            )
        return found

    def all(self) -> list[Volume]:
        """Return the volumes that users see, by name."""
        visible = (found for found in self._volumes.values() if found.stage in (Stage.READY, Stage.FILLING))
        return sorted(visible, key=lambda found: found.name)

    def place(self, name: str) -> Path:
        """Return where its content is, or will be while it is mounted."""
        return self._driver.place(self.find(name))

    async def size_bytes(self, name: str) -> int:
        """Return the bytes of the disk that a volume takes; reads all its directories."""
        return await asyncio.to_thread(self._driver.size_bytes, self.find(name))

    def users(self, name: str) -> list[Record]:
        """Return the containers that have a volume."""
        return [record for record in self._users() if name in mounts.volume_names(record.mounts)]

    def counts(self) -> collections.Counter[str]:
        """Return how many containers have each volume."""
        return collections.Counter(
            name for record in self._users() for name in mounts.volume_names(record.mounts)
        )

    # ------------------------------------------------------------------------------------ making and removing

    async def create(self, wanted: Wanted) -> Volume:
        """Make a volume, or return the one that is that already.

        Raises:
            errors.BeeyardError: See the RPC.
        """
        wanted = wanted if wanted.name else replace(wanted, name=self.new_name(), anonymous=True)
        volume.check(wanted)
        async with self.turn(wanted.name):
            made = await self._ensure(wanted)
            await asyncio.to_thread(self._driver.make, made)
        faults.reached("volume.made")
        return made

    async def _ensure(self, wanted: Wanted) -> Volume:
        present = self._volumes.get(wanted.name)
        if present is not None and present.stage is Stage.REMOVING:
            await self._remove(present)
        elif present is not None:
            self._refuse_unready(present)
            volume.check_same(present, wanted)
            return present
        return await self.record(wanted, Stage.READY)

    async def record(self, wanted: Wanted, stage: Stage) -> Volume:
        """Write a new volume; in its turn."""
        if len(self._volumes) >= VOLUMES_MAX:
            raise errors.Exhausted(f"this node has {VOLUMES_MAX} volumes already", reason="TOO_MANY_VOLUMES")
        made = Volume(
            name=wanted.name,
            created_at=self._clock.now(),
            driver=wanted.driver,
            options=dict(wanted.options),
            labels=dict(wanted.labels),
            anonymous=wanted.anonymous,
            stage=stage,
        )
        await self._write(made)
        faults.reached("volume.recorded")
        if stage is Stage.READY:
            self.tell(made, Action.CREATE)
        return made

    async def set_stage(self, name: str, stage: Stage) -> Volume:
        """Record what is under way with a volume; in its turn."""
        before = self._volumes[name]
        after = replace(before, stage=stage)
        if after != before:
            await self._write(after)
        if before.stage is Stage.RECEIVING and stage is Stage.READY:
            self.tell(after, Action.CREATE)
        return after

    async def remove(self, name: str, *, last_user: str = "", missing_is_fine: bool = False) -> None:
        """Remove a volume with its content; `last_user` is a container that goes and does not count.

        Raises:
            errors.NotFound: There is none.
            errors.FailedPrecondition: A container has it (VOLUME_IN_USE).
        """
        async with self.turn(name):
            found = self._volumes.get(name)
            if found is None or found.stage is not Stage.REMOVING:
                try:
                    found = self.find(name)
                except errors.NotFound:
                    if missing_is_fine:
                        return
                    raise
            self._refuse_used(name, last_user)
            await self._remove(found)

    async def remove_unused(self, name: str) -> bool:
        """Remove a volume if no container has it any more; return whether it went."""
        try:
            await self.remove(name)
        except (errors.FailedPrecondition, errors.NotFound):
            return False
        return True

    async def abandon(self, name: str) -> None:
        """Remove a volume whose content was never complete."""
        async with self.turn(name):
            found = self._volumes.get(name)
            if found is not None and found.stage is Stage.RECEIVING:
                await self._remove(found)

    def prunable(self, wanted: Mapping[str, tuple[str, ...]]) -> list[Volume]:
        """Return the volumes that no container has and that match."""
        counts = self.counts()
        return [
            found for found in self.all() if filters.matches_prune(found, wanted) and not counts[found.name]
        ]

    def exists(self, name: str) -> bool:
        """Return whether there is a record of that name, whatever is under way with it."""
        return name in self._volumes

    def tell(self, about: Volume, action: Action, **attributes: str) -> None:
        """Publish an event about a volume."""
        self._publish(
            Event(
                at=self._clock.now(),
                action=action,
                id=about.name,
                type="volume",
                attributes={**about.labels, "driver": about.driver, **attributes},
            )
        )

    def tell_about(self, name: str, action: Action, **attributes: str) -> None:
        """Publish an event about a volume that may be gone."""
        if name in self._volumes:
            self.tell(self._volumes[name], action, **attributes)

    def tell_pruned(self, reclaimed_bytes: int) -> None:
        """Publish the end of a prune, as Docker does."""
        self._publish(
            Event(
                at=self._clock.now(),
                action=Action.PRUNE,
                id="",
                type="volume",
                attributes={"reclaimed": str(reclaimed_bytes)},
            )
        )

    # --------------------------------------------------------------------------------------------- holding

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait until nobody else changes a volume."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            yield

    async def hold(self, name: str, holder: str) -> Path:
        """Mount a volume if it is not, and keep it so; return where it is. In its turn.

        Raises:
            errors.FailedPrecondition: It cannot be mounted (VOLUME_MOUNT_FAILED), or is being filled or removed.
        """
        found = self.find(name)
        self._refuse_unready(found)
        self._holders[name].add(holder)
        try:
            return await self._driver.mount(found)
        except BaseException:
            await self.let_go(name, holder)
            raise

    async def let_go(self, name: str, holder: str) -> None:
        """Unmount a volume if nobody else holds it. In its turn. Idempotent."""
        holders = self._holders[name]
        holders.discard(holder)
        if holders:
            return
        del self._holders[name]
        found = self._volumes.get(name)
        if found is not None and found.options:
            await self._driver.unmount(name)

    def holders(self, name: str) -> frozenset[str]:
        """Return who holds it."""
        return frozenset(self._holders.get(name, ()))

    # -------------------------------------------------------------------------------------------- recovery

    async def recover(self, records: Iterable[Record]) -> None:
        """Go on from what is recorded and what is there; before any container goes on.

        What was being removed or received goes; a directory without a record belonged to a volume whose record was
        lost, and becomes a volume again; a mount that nobody holds is taken down.
        """
        volumes, damaged = await self._store.load()
        self._volumes = {found.name: found for found in volumes}
        for row in damaged:
            _log.error("volume_record_damaged", volume=row.name, reason=row.reason)
        for record in records:
            if record.status.phase in _HOLDING:
                for name in mounts.volume_names(record.mounts):
                    self._holders[name].add(record.id)
        directories, aside = await asyncio.to_thread(self._driver.found)
        for name in sorted(directories - self._volumes.keys() - {row.name for row in damaged}):
            await self._adopt(name)
        for name in await asyncio.to_thread(self._driver.mounted):
            if name not in self._holders:
                await self._driver.unmount(name)
        for name in aside:
            await self._forgive(name, asyncio.to_thread(self._driver.drop_aside, name))
        for found in volumes:
            if found.stage in (Stage.RECEIVING, Stage.REMOVING):
                await self._forgive(found.name, self._remove(found))

    async def _adopt(self, name: str) -> None:
        try:
            volume.check_name(name)
        except errors.Invalid:
            _log.warning("volume_directory_unknown", directory=name)
            return
        _log.warning("volume_adopted", volume=name)
        await self._write(Volume(name=name, created_at=self._clock.now()))

    async def _forgive(self, name: str, work: collections.abc.Awaitable[None]) -> None:
        try:
            await work
        except errors.BeeyardError as exc:
            _log.warning("volume_not_removed", volume=name, error=exc.message)

    # ---------------------------------------------------------------------------------------------- pieces

    async def _write(self, made: Volume) -> None:
        await self._store.write(made)
        self._volumes[made.name] = made

    async def _remove(self, found: Volume) -> None:
        if found.stage is not Stage.REMOVING:
            received = found.stage is Stage.RECEIVING
            await self._write(replace(found, stage=Stage.REMOVING))
            if not received:
                self.tell(found, Action.DESTROY)
        faults.reached("volume.removing")
        await self._driver.delete(found)
        faults.reached("volume.deleted")
        await self._store.delete(found.name)
        self._volumes.pop(found.name, None)

    def _refuse_used(self, name: str, last_user: str) -> None:
        users = [record for record in self.users(name) if record.id != last_user]
        if users:
            names = ", ".join(f"{record.id[:12]} ({record.name})" for record in users)
            raise errors.FailedPrecondition(
                f"remove {name}: volume is in use by {names}",
                reason="VOLUME_IN_USE",
                metadata={"volume": name, "containers": ",".join(record.id for record in users)},
            )
        if self.holders(name):
            raise errors.FailedPrecondition(
                f"remove {name}: volume is in use: it is being exported, copied or filled",
                reason="VOLUME_IN_USE",
            )

    def _refuse_unready(self, found: Volume) -> None:
        if found.stage is Stage.RECEIVING:
            raise errors.FailedPrecondition(
                f"volume {found.name} is being filled by an import or a clone", reason="VOLUME_IN_USE"
            )
