"""Finds images by what people call them, and describes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.imaged.images.view import ImageView, NamedAs
from services.imaged.layers.chain import chain_ids
from services.imaged.model import digest as digests
from services.imaged.model import reference as references
from services.imaged.store import images as image_rows
from services.kit import errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from services.imaged.images.documents import Documents
    from services.imaged.model.digest import Digest
    from services.imaged.snapshots.records import Table
    from services.imaged.store.images import ImageRecord, NameRecord
    from services.kit.sqlite import Database

ID_PREFIX_DIGITS_MIN = 4
_HEX = re.compile(r"[0-9a-f]+")


class Catalog:
    """Reads the tables and the documents of images."""

    def __init__(self, database: Database, documents: Documents, snapshots: Table) -> None:
        self._database = database
        self._documents = documents
        self._snapshots = snapshots

    async def find(self, text: str) -> ImageRecord | None:
        """Return the image that a reference, an id or the prefix of one means, or None.

        Raises:
            errors.Invalid: It can be neither.
            errors.FailedPrecondition: With reason REFERENCE_AMBIGUOUS: several ids begin so.
        """
        return await self._database.read(lambda connection: find(connection, text))

    async def get(self, text: str) -> ImageRecord:
        """Return the image that `text` means.

        Raises:
            errors.NotFound: With reason IMAGE_NOT_FOUND; and as `find`.
        """
        record = await self.find(text)
        if record is None:
            raise not_found(text)
        return record

    async def view(self, record: ImageRecord) -> ImageView:
        """Return everything about one image."""
        (view,) = await self._views([record])
        return view

    async def views(self) -> list[ImageView]:
        """Return every image, the newest first; manifests of the same configuration are one image."""
        records = await self._database.read(image_rows.all_images)
        unique: dict[Digest, ImageRecord] = {}
        for record in records:
            unique.setdefault(record.image_id, record)
        return await self._views(list(unique.values()))

    async def _views(self, records: Sequence[ImageRecord]) -> list[ImageView]:
        def read(
            connection: sqlite3.Connection,
        ) -> tuple[list[NameRecord], dict[Digest, Digest], dict[str, int], dict[str, int]]:
            names = image_rows.all_names(connection)
            ids = {record.manifest.digest: record.image_id for record in image_rows.all_images(connection)}
            return names, ids, self._snapshots.users(connection), self._snapshots.layer_sizes(connection)

        names, ids, users, sizes = await self._database.read(read)
        names_by_id: dict[Digest, list[NamedAs]] = {}
        for name in names:
            named = NamedAs(
                reference=references.parse(name.name),
                target_digest=name.target.digest,
                moved_at=name.moved_at,
            )
            names_by_id.setdefault(ids[name.manifest_digest], []).append(named)
        users_by_id: dict[Digest, int] = {}
        for manifest_digest, count in users.items():
            image_id = ids.get(digests.parse(manifest_digest))
            if image_id is not None:
                users_by_id[image_id] = users_by_id.get(image_id, 0) + count
        return [
            self._view(
                record, names_by_id.get(record.image_id, []), users_by_id.get(record.image_id, 0), sizes
            )
            for record in records
        ]

    def _view(
        self, record: ImageRecord, names: Sequence[NamedAs], users: int, sizes: Mapping[str, int]
    ) -> ImageView:
        manifest = self._documents.manifest(record.manifest)
        config = self._documents.config(record.image_id)
        layer_sizes = [
            sizes.get(str(chain_id), layer.size_bytes)  # not unpacked here: what is known is the blob's size
            for chain_id, layer in zip(chain_ids(config.diff_ids), manifest.layers, strict=True)
        ]
        return ImageView(
            record=record,
            manifest=manifest,
            config=config,
            names=names,
            size_bytes=sum(layer_sizes),
            layer_sizes=layer_sizes,
            users=users,
        )


def find(connection: sqlite3.Connection, text: str) -> ImageRecord | None:
    """Return the image that `text` means: a full digest, then a name, then the beginning of an id."""
    bare = text.removeprefix(digests.PREFIX)
    if digests.is_hex(bare):
        digest = digests.Digest(bare)
        by_id = image_rows.with_id(connection, digest)
        return by_id[0] if by_id else image_rows.get(connection, digest)
    reference: references.Reference | None
    try:
        reference = references.parse(text).with_default_tag()
    except errors.Invalid:
        if _HEX.fullmatch(bare) is None:
            raise
        reference = None
    if reference is not None and (record := _by_name(connection, reference)):
        return record
    if len(bare) >= ID_PREFIX_DIGITS_MIN and _HEX.fullmatch(bare):
        return _by_id_prefix(connection, bare)
    return None


def _by_name(connection: sqlite3.Connection, reference: references.Reference) -> ImageRecord | None:
    if reference.digest is None:
        name = image_rows.get_name(connection, str(reference))
        return image_rows.get(connection, name.manifest_digest) if name else None
    # Content by digest is the same under every name, so the name need not be one that we know.
    if record := image_rows.get(connection, reference.digest):
        return record
    names = image_rows.names_for_target(connection, reference.digest)
    return image_rows.get(connection, names[0].manifest_digest) if names else None


def _by_id_prefix(connection: sqlite3.Connection, prefix: str) -> ImageRecord | None:
    ids = image_rows.with_id_prefix(connection, prefix, 2)
    if len(ids) > 1:
        raise errors.FailedPrecondition(
            f"several image ids begin with {prefix}: give more digits", reason="REFERENCE_AMBIGUOUS"
        )
    return image_rows.with_id(connection, ids[0])[0] if ids else None


def is_id(text: str) -> bool:
    """Return whether `text` can be an id or a digest, but no name."""
    return digests.is_hex(text.removeprefix(digests.PREFIX))


def not_found(text: str) -> errors.NotFound:
    """Return the error for an image that is not here."""
    return errors.NotFound(f"no such image: {text[:300]}", reason="IMAGE_NOT_FOUND")
