"""The rows of the snapshots table. Functions for `Database.read` and `Database.write`: they run on its threads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.imaged.model import digest as digests
from services.imaged.snapshots.ports import Kind, Snapshot

if TYPE_CHECKING:
    import sqlite3

    from services.imaged.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A snapshot and where it is kept."""

    snapshot: Snapshot
    directory: str
    size_bytes: int = 0
    inode_count: int = 0
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The snapshots of one driver."""

    driver: str

    def get(self, connection: sqlite3.Connection, key: str) -> Record | None:
        """Return one snapshot."""
        row = connection.execute(
            "SELECT * FROM snapshots WHERE driver = ? AND key = ?", (self.driver, key)
        ).fetchone()
        return _record(row) if row else None

    def all(self, connection: sqlite3.Connection) -> list[Record]:
        """Return every snapshot, by key."""
        rows = connection.execute("SELECT * FROM snapshots WHERE driver = ? ORDER BY key", (self.driver,))
        return [_record(row) for row in rows]

    def page(self, connection: sqlite3.Connection, after: str, limit: int) -> list[Record]:
        """Return up to `limit` snapshots above a key."""
        rows = connection.execute(
            "SELECT * FROM snapshots WHERE driver = ? AND key > ? ORDER BY key LIMIT ?",
            (self.driver, after, limit),
        )
        return [_record(row) for row in rows]

    def ancestry(self, connection: sqlite3.Connection, key: str) -> list[Record]:
        """Return a snapshot and all it stands on, downwards. If one is missing, the list ends above it."""
        rows = connection.execute(
            """
            WITH RECURSIVE up (depth, key) AS (
                SELECT 0, ?2
                UNION ALL
                SELECT depth + 1, parent FROM up JOIN snapshots USING (key)
                WHERE driver = ?1 AND parent <> '' AND depth < 1000
            )
            SELECT snapshots.* FROM up JOIN snapshots USING (key) WHERE driver = ?1 ORDER BY depth
            """,
            (self.driver, key),
        )
        return [_record(row) for row in rows]

    def has_children(self, connection: sqlite3.Connection, key: str) -> bool:
        """Return whether anything stands on a snapshot."""
        row = connection.execute(
            "SELECT 1 FROM snapshots WHERE driver = ? AND parent = ? LIMIT 1", (self.driver, key)
        ).fetchone()
        return row is not None

    def users(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return how many snapshots of containers there are, by the manifest digest of their image."""
        rows = connection.execute(
            """
            SELECT manifest_digest, count(*) AS number FROM snapshots
            WHERE driver = ? AND manifest_digest <> '' GROUP BY manifest_digest
            """,
            (self.driver,),
        )
        return {row["manifest_digest"]: row["number"] for row in rows}

    def layer_sizes(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return the sizes of the committed snapshots by key."""
        rows = connection.execute(
            "SELECT key, size_bytes FROM snapshots WHERE driver = ? AND kind = ?",
            (self.driver, Kind.COMMITTED.value),
        )
        return {row["key"]: row["size_bytes"] for row in rows}

    def keys_using(self, connection: sqlite3.Connection, manifest_digest: Digest) -> list[str]:
        """Return the keys of the containers' snapshots that stand on an image."""
        rows = connection.execute(
            "SELECT key FROM snapshots WHERE driver = ? AND manifest_digest = ? ORDER BY key",
            (self.driver, str(manifest_digest)),
        )
        return [row["key"] for row in rows]

    def put(self, connection: sqlite3.Connection, record: Record) -> None:
        """Add a snapshot; its key must be free."""
        snapshot = record.snapshot
        connection.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.driver,
                snapshot.key,
                snapshot.kind.value,
                snapshot.parent,
                record.directory,
                str(snapshot.manifest_digest or ""),
                json.dumps(dict(snapshot.labels), ensure_ascii=False),
                snapshot.created_at.timestamp(),
                record.size_bytes,
                record.inode_count,
                record.boot_id,
            ),
        )

    def mark_durable(self, connection: sqlite3.Connection, key: str) -> None:
        """Note that a snapshot's files are on the disk."""
        connection.execute(
            "UPDATE snapshots SET boot_id = '' WHERE driver = ? AND key = ?", (self.driver, key)
        )

    def delete(self, connection: sqlite3.Connection, key: str) -> None:
        """Remove a snapshot."""
        connection.execute("DELETE FROM snapshots WHERE driver = ? AND key = ?", (self.driver, key))


def _record(row: sqlite3.Row) -> Record:
    manifest: Digest | None = digests.parse(row["manifest_digest"]) if row["manifest_digest"] else None
    snapshot = Snapshot(
        key=row["key"],
        kind=Kind(row["kind"]),
        parent=row["parent"],
        manifest_digest=manifest,
        labels=json.loads(row["labels"]),
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
    )
    return Record(
        snapshot=snapshot,
        directory=row["directory"],
        size_bytes=row["size_bytes"],
        inode_count=row["inode_count"],
        boot_id=row["boot_id"],
    )
