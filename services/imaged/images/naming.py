"""Gives images names and takes them away, and with the last one the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.imaged.images import catalog, removal
from services.imaged.images.events import Action
from services.imaged.model import reference as references
from services.imaged.store import images as image_rows
from services.kit import errors, log

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from services.imaged.images.catalog import Catalog
    from services.imaged.images.collector import Collector
    from services.imaged.images.events import ImageEvents
    from services.imaged.images.filters import ImageFilter
    from services.imaged.images.layout_index import LayoutIndex
    from services.imaged.images.registrar import Registrar
    from services.imaged.model.digest import Digest
    from services.imaged.snapshots.records import Table
    from services.imaged.store.images import ImageRecord
    from services.kit.sqlite import Database

_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went."""

    untagged: Sequence[str]
    """Familiar names."""
    deleted: Sequence[str]
    """Image ids, then chain ids of layers."""
    freed_bytes: int


class Naming:
    """Tags and removes images."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        registrar: Registrar,
        collector: Collector,
        snapshots: Table,
        index: LayoutIndex,
        events: ImageEvents,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._registrar = registrar
        self._collector = collector
        self._snapshots = snapshots
        self._index = index
        self._events = events

    async def tag(self, source: str, target: str) -> None:
        """Give the image `source` the name `target`, which another image loses.

        Raises:
            errors.NotFound: With reason IMAGE_NOT_FOUND.
            errors.Invalid: With reason REFERENCE_INVALID.
        """
        name = parse_tag(target)
        record = await self._catalog.get(source)
        await self._registrar.name(record, record.manifest, str(name))
        self._events.tell(Action.TAG, record.image_id, name.familiar)

    async def remove(self, text: str, *, force: bool) -> Removed:
        """Remove what `text` names; see `removal` for the rules."""
        return await self._remove(lambda connection: self._take_away(connection, text, force=force))

    async def prune(self, chosen: ImageFilter, *, all_unused: bool) -> Removed:
        """Remove the images that no container uses: the nameless ones, or all."""
        views = [
            view
            for view in await self._catalog.views()
            if not view.users and (all_unused or not view.repo_tags) and chosen.passes(view)
        ]

        def take_away(connection: sqlite3.Connection) -> _Taken:
            taken = _Taken()
            for view in views:
                for record in image_rows.with_id(connection, view.record.image_id):
                    if self._snapshots.keys_using(connection, record.manifest.digest):
                        continue  # in use since we looked
                    names = _names_of(connection, [record])
                    image_rows.delete(connection, record.manifest.digest)
                    taken.untagged += [(name.familiar, record.image_id) for name in names]
                    taken.images.append(record)
            return taken

        removed = await self._remove(take_away)
        self._events.pruned(removed.freed_bytes)
        return removed

    async def _remove(self, take_away: Callable[[sqlite3.Connection], _Taken]) -> Removed:
        taken = await self._database.write(take_away)
        images = list(dict.fromkeys(record.image_id for record in taken.images))
        for _, image_id in taken.untagged:
            self._events.tell(Action.UNTAG, image_id)
        for image_id in images:
            self._events.deleted(image_id)
        await self._index.refresh()
        collected = await self._collector.collect()
        untagged = [name for name, _ in taken.untagged]
        _log.info("images_removed", untagged=untagged, images=list(map(str, images)))
        return Removed(
            untagged=untagged,
            deleted=[*map(str, images), *collected.snapshots],
            freed_bytes=collected.freed_bytes,
        )

    def _take_away(self, connection: sqlite3.Connection, text: str, *, force: bool) -> _Taken:
        record = catalog.find(connection, text)
        if record is None:
            raise catalog.not_found(text)
        records = image_rows.with_id(connection, record.image_id)
        users = [
            key for each in records for key in self._snapshots.keys_using(connection, each.manifest.digest)
        ]
        plan = removal.plan(
            _asked(connection, text), text[:300], _names_of(connection, records), users, force=force
        )
        for name in plan.names:
            image_rows.delete_name(connection, str(name))
        if plan.image:
            for each in records:
                image_rows.delete(connection, each.manifest.digest)
        return _Taken(
            untagged=[(name.familiar, record.image_id) for name in plan.names],
            images=records if plan.image else [],
        )


@dataclass(slots=True)
class _Taken:
    """What a tag was taken from."""

    untagged: list[tuple[str, Digest]] = field(default_factory=list)
    """Familiar names, each with the id of its image."""
    images: list[ImageRecord] = field(default_factory=list)


def parse_tag(text: str) -> references.Reference:
    """Return the name that an image can be given: one with a tag, "latest" if none is written.

    Raises:
        errors.Invalid: With reason REFERENCE_INVALID.
    """
    name = references.parse(text).with_default_tag()
    if name.digest is not None:
        raise errors.Invalid(
            f"{text[:300]!r} names an image by digest: an image can only be given a name with a tag",
            reason="REFERENCE_INVALID",
        )
    return name


def _asked(connection: sqlite3.Connection, text: str) -> references.Reference | None:
    """Return the name that `text` is, or None if it is an id."""
    try:
        reference = references.parse(text).with_default_tag()
    except errors.Invalid:
        return None
    return reference if image_rows.get_name(connection, str(reference)) else None


def _names_of(connection: sqlite3.Connection, records: Sequence[ImageRecord]) -> list[references.Reference]:
    digests = {record.manifest.digest for record in records}
    return [
        references.parse(name.name)
        for name in image_rows.all_names(connection)
        if name.manifest_digest in digests
    ]
