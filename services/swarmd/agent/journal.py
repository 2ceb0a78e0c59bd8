"""The agent's records on disk: which tasks this node was given, and how far each is.

Secrets and configs are not in it: a worker keeps them in memory only, and gets them again with its next session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from beeyard.swarm.v1 import objects_pb2
from services.kit import sqlite
from services.swarmd.agent.core import report
from services.swarmd.agent.core.facts import StopCause

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from services.swarmd.agent.core.facts import Progress

_MIGRATIONS = (
    """
    CREATE TABLE task (
        id TEXT PRIMARY KEY,
        task BLOB NOT NULL,          -- beeyard.swarm.v1.Task as it was assigned
        status BLOB NOT NULL,        -- beeyard.swarm.v1.TaskStatus by our account
        stop_cause TEXT NOT NULL,    -- why its container is being stopped; empty if it is not
        removed INTEGER NOT NULL     -- the swarm has forgotten it: what is left of it goes
    ) WITHOUT ROWID;
    """,
)
_SAVE = """
    INSERT INTO task (id, task, status, stop_cause, removed) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET task = excluded.task, status = excluded.status,
        stop_cause = excluded.stop_cause, removed = excluded.removed
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is recorded of one task."""

    task: objects_pb2.Task
    progress: Progress
    removed: bool = False


class Journal:
    """The records. What a call has written is durable when it returns."""

    def __init__(self, database: sqlite.Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or make the file; its directory exists."""
        return cls(await sqlite.Database.open(path, _MIGRATIONS))

    async def load(self, now: datetime) -> dict[str, Entry]:
        """Return all records by task id. `now` stands for times that were not recorded."""

        def read(connection: sqlite3.Connection) -> dict[str, Entry]:
            rows = connection.execute("SELECT id, task, status, stop_cause, removed FROM task ORDER BY id")
            return {row["id"]: _from_row(row, now) for row in rows}

        return await self._database.read(read)

    async def save(self, entries: Iterable[Entry]) -> None:
        """Write records, all or none."""
        rows = [_to_row(entry) for entry in entries]
        if rows:
            await self._database.write(lambda connection: connection.executemany(_SAVE, rows).rowcount)

    async def forget(self, task_id: str) -> None:
        """Delete a record."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM task WHERE id = ?", (task_id,)).rowcount
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._database.close()


def _to_row(entry: Entry) -> tuple[str, bytes, bytes, str, int]:
    status = report.to_status(entry.progress)
    return (
        entry.task.id,
        entry.task.SerializeToString(),
        status.SerializeToString(),
        entry.progress.stop_cause.value,
        int(entry.removed),
    )


def _from_row(row: sqlite3.Row, now: datetime) -> Entry:
    status = objects_pb2.TaskStatus.FromString(row["status"])
    return Entry(
        task=objects_pb2.Task.FromString(row["task"]),
        progress=report.from_status(status, now, StopCause(row["stop_cause"])),
        removed=bool(row["removed"]),
    )
