"""The records in SQLite: one row per container, names unique, status apart from what does not change.

A status is written at every step of a container's life, the specification once; both are JSON, so that an added field
needs no migration. The content of files of a specification is secret: it is kept apart (`contents`), and not here.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from services.containerd.model.image import ImageConfig
from services.containerd.model.mounts import MountPoint
from services.containerd.model.spec import ContainerSpec
from services.containerd.model.status import Record, Status
from services.containerd.records import codec
from services.containerd.records import contents as apart
from services.containerd.records.contents import Contents
from services.kit import errors, log
from services.kit.sqlite import Database

if TYPE_CHECKING:
    from pathlib import Path

_log = log.get(__name__)

_MIGRATIONS = (
    """
    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        request_id TEXT NOT NULL DEFAULT '',
        spec TEXT NOT NULL,
        image TEXT NOT NULL,
        status TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX containers_by_request ON containers (request_id) WHERE request_id <> '';
    """,
    """
    ALTER TABLE containers ADD COLUMN mounts TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE volumes (name TEXT PRIMARY KEY, volume TEXT NOT NULL) STRICT, WITHOUT ROWID;
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A row that does not read. It is kept: its container may run, and a person may mend it."""

    id: str
    reason: str


class Store:
    """Reads and writes records. Everything that returns is on disk, but for the content of files."""

    def __init__(self, database: Database, contents: Contents) -> None:
        self._database = database
        self._contents = contents
        self._undivided: list[Record] = []

    @property
    def database(self) -> Database:
        """The database, which the volumes share."""
        return self._database

    @classmethod
    async def open(cls, path: Path, contents: Path) -> Store:
        """Open or create the database; `contents` is the directory for what must not be in it."""
        return cls(await Database.open(path, _MIGRATIONS), Contents(contents))

    async def close(self) -> None:
        """Finish what was begun."""
        await self._database.close()

    async def load(self) -> tuple[list[Record], list[Damaged]]:
        """Return all records, oldest first, and the rows that do not read."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT * FROM containers ORDER BY created_at, id"
            ).fetchall()
        )
        records: list[Record] = []
        damaged: list[Damaged] = []
        for row in rows:
            try:
                record = _from_row(row)
            except (ValueError, TypeError, KeyError, AttributeError) as exc:
                damaged.append(Damaged(id=row["id"], reason=str(exc)))
                continue
            if any(file.data is not None for file in record.spec.files):
                self._undivided.append(record)
            elif record.spec.files:
                spec = await asyncio.to_thread(self._contents.joined, record.id, record.spec)
                record = replace(record, spec=spec)
            records.append(record)
        return records, damaged

    async def tidy(self) -> None:
        """Put right what the last daemon has left, once after `load`: nobody else creates containers meanwhile.

        Contents without a record go; those that an older version wrote into a record are taken out of it.
        """
        for record in self._undivided:
            await self.write_spec(record.id, record.name, record.spec)
        self._undivided.clear()
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT id FROM containers").fetchall()
        )
        if strays := await asyncio.to_thread(self._contents.retain, {row["id"] for row in rows}):
            _log.info("files_of_no_container_removed", containers=strays)

    async def insert(self, record: Record) -> None:
        """Write a new container.

        Raises:
            errors.AlreadyExists: Its name is in use (NAME_IN_USE), or its request id (REQUEST_ID_IN_USE).
            errors.Exhausted: There is no room (DISK_FULL).
        """
        row = (
            record.id,
            record.name,
            record.created_at.isoformat(),
            record.request_id,
            _text(apart.without(record.spec)),
            _text(record.image),
            _text(record.status),
            _text(record.mounts),
        )
        await self._put(record.id, record.spec)
        try:
            await self._database.write(
                lambda connection: connection.execute(
                    "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
                )
            )
        except (sqlite3.IntegrityError, errors.BeeyardError) as exc:
            self._contents.drop(record.id)
            if isinstance(exc, errors.BeeyardError):
                raise
            if "containers.request_id" in str(exc):
                raise errors.AlreadyExists(
                    "the request id was used for another container", reason="REQUEST_ID_IN_USE"
                ) from exc
            raise errors.AlreadyExists(
                f"the name {record.name} is in use by another container", reason="NAME_IN_USE"
            ) from exc

    async def write_status(self, container_id: str, status: Status) -> None:
        """Replace the status."""
        row = (_text(status), container_id)
        await self._database.write(
            lambda connection: connection.execute("UPDATE containers SET status = ? WHERE id = ?", row)
        )

    async def write_spec(self, container_id: str, name: str, spec: ContainerSpec) -> None:
        """Replace name and specification.

        Raises:
            errors.AlreadyExists: The name is in use (NAME_IN_USE).
        """
        row = (name, _text(apart.without(spec)), container_id)
        await self._put(container_id, spec)

        def write(connection: sqlite3.Connection) -> None:
            if (
                spec.files
            ):  # an older version may have written what is in them: do not leave it in the file's gaps
                connection.execute("PRAGMA secure_delete = ON").fetchall()
            connection.execute("UPDATE containers SET name = ?, spec = ? WHERE id = ?", row)

        try:
            await self._database.write(write)
        except sqlite3.IntegrityError as exc:
            raise errors.AlreadyExists(
                f"the name {name} is in use by another container", reason="NAME_IN_USE"
            ) from exc

    async def delete(self, container_id: str) -> None:
        """Forget a container. Idempotent."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
        )
        self._contents.drop(container_id)

    async def _put(self, container_id: str, spec: ContainerSpec) -> None:
        if spec.files:
            await asyncio.to_thread(self._contents.put, container_id, spec)


def _text(value: object) -> str:
    return json.dumps(codec.encode(value), separators=(",", ":"))


def _from_row(row: sqlite3.Row) -> Record:
    return Record(
        id=row["id"],
        name=row["name"],
        created_at=datetime.fromisoformat(row["created_at"]),
        request_id=row["request_id"],
        spec=codec.decode(ContainerSpec, json.loads(row["spec"])),
        image=codec.decode(ImageConfig, json.loads(row["image"])),
        status=codec.decode(Status, json.loads(row["status"])),
        mounts=tuple(codec.decode(MountPoint, point) for point in json.loads(row["mounts"])),
    )
