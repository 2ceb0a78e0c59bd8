"""Writes down that an image is complete, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged import faults
from services.imaged.images.view import EPOCH
from services.imaged.store import images as image_rows
from services.imaged.store.images import ImageRecord, NameRecord
from services.kit import log

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime

    from services.imaged.images.layout_index import LayoutIndex
    from services.imaged.model.config import ImageConfig
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.digest import Digest
    from services.kit.seams import Clock
    from services.kit.sqlite import Database

_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An image whose content is all here."""

    manifest: Descriptor
    image_id: Digest
    config: ImageConfig
    target: Descriptor
    names: Sequence[str]
    """Canonical; they move here from whatever had them."""


class Registrar:
    """The only writer of images and names, but for removal."""

    def __init__(self, database: Database, clock: Clock, index: LayoutIndex) -> None:
        self._database = database
        self._clock = clock
        self._index = index

    async def register(self, registrations: Sequence[Registration]) -> None:
        """Make images and their names visible, all at once."""
        now = self._clock.now()
        faults.point("image.before_record")
        await self._database.write(lambda connection: _write(connection, registrations, now))
        faults.point("image.after_record")
        await self._index.refresh()
        for registration in registrations:
            _log.info("image_registered", id=registration.image_id, names=list(registration.names))

    async def name(self, record: ImageRecord, target: Descriptor, name: str) -> None:
        """Give an image that is here one more name; nothing is written if it has that name already."""
        known = await self._database.read(lambda connection: image_rows.get_name(connection, name))
        if known is not None and known.manifest_digest == record.manifest.digest:
            return
        named = NameRecord(
            name=name,
            manifest_digest=record.manifest.digest,
            target=target,
            moved_at=self._clock.now(),
        )
        await self._database.write(lambda connection: image_rows.set_name(connection, named))
        await self._index.refresh()


def _write(connection: sqlite3.Connection, registrations: Sequence[Registration], now: datetime) -> None:
    for registration in registrations:
        image_rows.put(
            connection,
            ImageRecord(
                manifest=registration.manifest,
                image_id=registration.image_id,
                created_at=registration.config.created_at or EPOCH,
                added_at=now,
            ),
        )
        for name in registration.names:
            image_rows.set_name(
                connection,
                NameRecord(
                    name=name,
                    manifest_digest=registration.manifest.digest,
                    target=registration.target,
                    moved_at=now,
                ),
            )
