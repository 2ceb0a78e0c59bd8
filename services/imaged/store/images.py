"""The rows of the images and names tables. For `Database.read` and `Database.write`: they run on its threads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.imaged.model import digest as digests
from services.imaged.model.descriptor import Descriptor

if TYPE_CHECKING:
    import sqlite3

    from services.imaged.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image that is complete on this node."""

    manifest: Descriptor
    image_id: Digest
    created_at: datetime
    """By its own account; the year 1970 if it gives none."""
    added_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecord:
    """One name of an image."""

    name: str
    """Canonical form of a reference with a tag or a digest."""
    manifest_digest: Digest
    target: Descriptor
    """What the name stands for where it came from: the manifest, or an index that lists it."""
    moved_at: datetime


def put(connection: sqlite3.Connection, record: ImageRecord) -> None:
    """Add an image; one that is known already is left as it is."""
    connection.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            str(record.manifest.digest),
            record.manifest.media_type,
            record.manifest.size_bytes,
            str(record.image_id),
            record.created_at.timestamp(),
            record.added_at.timestamp(),
        ),
    )


def get(connection: sqlite3.Connection, manifest_digest: Digest) -> ImageRecord | None:
    """Return the image of a manifest."""
    row = connection.execute(
        "SELECT * FROM images WHERE manifest_digest = ?", (str(manifest_digest),)
    ).fetchone()
    return _image(row) if row else None


def with_id(connection: sqlite3.Connection, image_id: Digest) -> list[ImageRecord]:
    """Return the images with a configuration, the newest addition first: there may be several manifests of one."""
    rows = connection.execute(
        "SELECT * FROM images WHERE image_id = ? ORDER BY added_at DESC, manifest_digest", (str(image_id),)
    )
    return [_image(row) for row in rows]


def with_id_prefix(connection: sqlite3.Connection, hex_prefix: str, limit: int) -> list[Digest]:
    """Return the ids that begin with some hexadecimal digits."""
    start = digests.PREFIX + hex_prefix
    rows = connection.execute(
        "SELECT DISTINCT image_id FROM images WHERE image_id >= ? AND image_id < ? LIMIT ?",
        (start, start + "g", limit),
    )
    return [digests.parse(row["image_id"]) for row in rows]


def all_images(connection: sqlite3.Connection) -> list[ImageRecord]:
    """Return every image, the newest by its own account first."""
    rows = connection.execute("SELECT * FROM images ORDER BY created_at DESC, image_id, added_at DESC")
    return [_image(row) for row in rows]


def delete(connection: sqlite3.Connection, manifest_digest: Digest) -> None:
    """Remove an image with its names; the garbage collector takes its content."""
    connection.execute("DELETE FROM images WHERE manifest_digest = ?", (str(manifest_digest),))


def set_name(connection: sqlite3.Connection, record: NameRecord) -> None:
    """Give an image a name; another image loses it."""
    connection.execute(
        "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?, ?, ?)",
        (
            record.name,
            str(record.manifest_digest),
            str(record.target.digest),
            record.target.media_type,
            record.target.size_bytes,
            record.moved_at.timestamp(),
        ),
    )


def get_name(connection: sqlite3.Connection, name: str) -> NameRecord | None:
    """Return what a name stands for."""
    row = connection.execute("SELECT * FROM names WHERE name = ?", (name,)).fetchone()
    return _name(row) if row else None


def names_for_target(connection: sqlite3.Connection, digest: Digest) -> list[NameRecord]:
    """Return the names that stand for an index or a manifest."""
    rows = connection.execute(
        "SELECT * FROM names WHERE target_digest = ? OR manifest_digest = ? ORDER BY name",
        (str(digest), str(digest)),
    )
    return [_name(row) for row in rows]


def all_names(connection: sqlite3.Connection) -> list[NameRecord]:
    """Return every name."""
    return [_name(row) for row in connection.execute("SELECT * FROM names ORDER BY name")]


def delete_name(connection: sqlite3.Connection, name: str) -> None:
    """Remove a name."""
    connection.execute("DELETE FROM names WHERE name = ?", (name,))


def _image(row: sqlite3.Row) -> ImageRecord:
    return ImageRecord(
        manifest=Descriptor(
            media_type=row["media_type"],
            digest=digests.parse(row["manifest_digest"]),
            size_bytes=row["size_bytes"],
        ),
        image_id=digests.parse(row["image_id"]),
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        added_at=datetime.fromtimestamp(row["added_at"], UTC),
    )


def _name(row: sqlite3.Row) -> NameRecord:
    return NameRecord(
        name=row["name"],
        manifest_digest=digests.parse(row["manifest_digest"]),
        target=Descriptor(
            media_type=row["target_media_type"],
            digest=digests.parse(row["target_digest"]),
            size_bytes=row["target_size_bytes"],
        ),
        moved_at=datetime.fromtimestamp(row["moved_at"], UTC),
    )
