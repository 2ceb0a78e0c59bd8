"""The tables of metadata.db. Digests are stored in full ("sha256:…"), instants as seconds since 1970, UTC."""

from __future__ import annotations

MIGRATIONS = (
    """
    -- An image that is complete on this node: all its blobs are in the content store. One row per manifest.
    CREATE TABLE images (
        manifest_digest TEXT PRIMARY KEY,
        media_type      TEXT NOT NULL,
        size_bytes      INTEGER NOT NULL,   -- of the manifest
        image_id        TEXT NOT NULL,      -- digest of the configuration
        created_at      REAL NOT NULL,      -- by the image's own account; 0 if it gives none
        added_at        REAL NOT NULL
    ) STRICT;
    CREATE INDEX images_by_id ON images (image_id);

    -- What people call images: "docker.io/library/web:1" or "docker.io/library/web@sha256:…".
    CREATE TABLE names (
        name              TEXT PRIMARY KEY,
        manifest_digest   TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        target_digest     TEXT NOT NULL,    -- what the name was pulled as: the manifest, or an index above it
        target_media_type TEXT NOT NULL,
        target_size_bytes INTEGER NOT NULL,
        moved_at          REAL NOT NULL
    ) STRICT;
    CREATE INDEX names_by_manifest ON names (manifest_digest);

    -- Holds things against the garbage collector while somebody works with them.
    CREATE TABLE leases (
        id           TEXT PRIMARY KEY,
        expires_at   REAL NOT NULL,
        is_resumable INTEGER NOT NULL       -- whether the work may go on after a restart of the daemon
    ) STRICT;
    CREATE TABLE lease_items (
        lease_id TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
        item     TEXT NOT NULL,             -- digest of a blob or key of a snapshot
        PRIMARY KEY (lease_id, item)
    ) STRICT, WITHOUT ROWID;

    -- File systems. A row is written after its directory is complete: a directory without a row is rubbish.
    CREATE TABLE snapshots (
        driver          TEXT NOT NULL,
        key             TEXT NOT NULL,      -- a chain id for the layers of images, else chosen by the caller
        kind            TEXT NOT NULL,      -- active, view or committed
        parent          TEXT NOT NULL,      -- key, or "" for a base; the parent of an image's layer may be missing
        directory       TEXT NOT NULL,      -- "" for a view
        manifest_digest TEXT NOT NULL,      -- of the image that it was prepared from, or ""
        labels          TEXT NOT NULL,      -- JSON
        created_at      REAL NOT NULL,
        size_bytes      INTEGER NOT NULL,
        inode_count     INTEGER NOT NULL,
        boot_id         TEXT NOT NULL,      -- of the boot that made it, while its content is not durable; else ""
        PRIMARY KEY (driver, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX snapshots_by_parent ON snapshots (driver, parent);
    CREATE INDEX snapshots_by_image ON snapshots (driver, manifest_digest);
    """,
)
