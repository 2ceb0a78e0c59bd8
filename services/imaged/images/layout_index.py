"""Keeps `index.json` of the content store's OCI image layout in step with the names.

Nothing here reads it: the database is the truth, and this file is made from it, again at every start. It is for other
tools, which can then take images from the store even where no daemon runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.imaged.model import descriptor as descriptors
from services.imaged.model import mediatype
from services.imaged.model.descriptor import Descriptor
from services.imaged.model.manifest import Index
from services.imaged.store import images as image_rows
from services.kit import atomic, log

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from services.kit.sqlite import Database

_log = log.get(__name__)


class LayoutIndex:
    """Writes the file."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._writing = asyncio.Lock()

    async def refresh(self) -> None:
        """Write the file anew; a failure to do so is logged and harms nobody here."""
        async with self._writing:
            entries = await self._database.read(_entries)
            index = Index(media_type=mediatype.OCI_INDEX, manifests=tuple(entries))
            try:
                await asyncio.to_thread(atomic.write, self._path, index.render(), 0o600, False)
            except OSError as error:
                _log.warning("layout_index_not_written", path=self._path, error=str(error))


def _entries(connection: sqlite3.Connection) -> list[Descriptor]:
    manifests = {record.manifest.digest: record.manifest for record in image_rows.all_images(connection)}
    entries: list[Descriptor] = []
    for name in image_rows.all_names(connection):
        manifest = manifests[name.manifest_digest]
        entries.append(
            Descriptor(
                media_type=manifest.media_type,
                digest=manifest.digest,
                size_bytes=manifest.size_bytes,
                annotations={
                    descriptors.ANNOTATION_CONTAINERD_NAME: name.name,
                    descriptors.ANNOTATION_REF_NAME: name.name,
                },
            )
        )
    return entries
