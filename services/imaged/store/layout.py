"""Where everything is under the daemon's state directory.

content/oci-layout            the marker of an OCI image layout
content/index.json            its index: names, for other tools; made from the database
content/blobs/sha256/<hex>    complete, verified blobs; nothing else is ever there
content/ingest/               blobs on their way in
snapshots/<driver>/           directories of layers and containers, see `snapshots`
metadata.db                   names, images, leases and snapshots
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from services.kit import atomic, errors

_MARKER = "oci-layout"
_LAYOUT_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths. Made by `prepare`."""

    root: Path

    @property
    def content(self) -> Path:
        """The OCI image layout."""
        return self.root / "content"

    @property
    def index(self) -> Path:
        """The index of the OCI image layout."""
        return self.content / "index.json"

    @property
    def blobs(self) -> Path:
        """Complete blobs, by the hexadecimal part of their digest."""
        return self.content / "blobs" / "sha256"

    @property
    def ingest(self) -> Path:
        """Incomplete blobs."""
        return self.content / "ingest"

    @property
    def database(self) -> Path:
        """The metadata."""
        return self.root / "metadata.db"

    def snapshots(self, driver: str) -> Path:
        """The directories of one snapshot driver."""
        return self.root / "snapshots" / driver


def prepare(root: Path) -> Layout:
    """Make the directories that are missing and return the paths.

    Raises:
        errors.FailedPrecondition: The store is of a version that this program does not know.
    """
    layout = Layout(root)
    for directory in (layout.content, layout.blobs, layout.ingest):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.remove_leftovers(layout.content)
    marker = layout.content / _MARKER
    data = atomic.read(marker)
    if data is None:
        atomic.write(marker, json.dumps({"imageLayoutVersion": _LAYOUT_VERSION}).encode())
    elif _version(data) != _LAYOUT_VERSION:
        raise errors.FailedPrecondition(
            f"{marker} is not of an OCI image layout {_LAYOUT_VERSION}: another program, or a newer version, wrote it",
            reason="STORE_VERSION_UNKNOWN",
        )
    return layout


def _version(marker: bytes) -> str:
    try:
        return str(json.loads(marker)["imageLayoutVersion"])
    except (ValueError, KeyError, TypeError):
        return ""
