"""The records of volumes, in the daemon's database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.records import codec
from services.containerd.volumes.core.volume import Volume

if TYPE_CHECKING:
    from services.kit.sqlite import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedVolume:
    """A row that does not read. It is kept, and its directory is left alone."""

    name: str
    reason: str


class VolumeStore:
    """Reads and writes. Everything that returns is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> tuple[list[Volume], list[DamagedVolume]]:
        """Return all volumes by name, and the rows that do not read."""
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT name, volume FROM volumes ORDER BY name").fetchall()
        )
        volumes: list[Volume] = []
        damaged: list[DamagedVolume] = []
        for row in rows:
            try:
                volumes.append(codec.decode(Volume, json.loads(row["volume"])))
            except (ValueError, TypeError, KeyError, AttributeError) as exc:
                damaged.append(DamagedVolume(name=row["name"], reason=str(exc)))
        return volumes, damaged

    async def write(self, volume: Volume) -> None:
        """Write a new volume, or replace what is kept of one."""
        row = (volume.name, json.dumps(codec.encode(volume), separators=(",", ":")))
        await self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO volumes VALUES (?, ?)", row)
        )

    async def delete(self, name: str) -> None:
        """Forget a volume. Idempotent."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
        )
