"""The moves of this manager on disk: one row each, JSON inside, so that an added field needs no migration."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import TYPE_CHECKING, Any, Self

from services.kit import log, sqlite
from services.swarmd.move.core.move import Chore, Facts, Failure, Move, Stage, Step, VolumeMount, Wanted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

_log = log.get(__name__)

_MIGRATIONS = (
    """
    CREATE TABLE move (
        id TEXT PRIMARY KEY,
        begun_at REAL NOT NULL,
        move TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)
_SAVE = """
    INSERT INTO move (id, begun_at, move) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET move = excluded.move
"""


class MoveJournal:
    """The records. What a call has written is durable when it returns."""

    def __init__(self, database: sqlite.Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or make the file; its directory exists."""
        return cls(await sqlite.Database.open(path, _MIGRATIONS))

    async def load(self) -> Sequence[Move]:
        """Return all moves, oldest first. One that does not read is left alone, and told of in the log."""

        def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            rows = connection.execute("SELECT id, move FROM move ORDER BY begun_at, id")
            return [(row["id"], row["move"]) for row in rows]

        moves: list[Move] = []
        for move_id, text in await self._database.read(read):
            try:
                moves.append(decode(text))
            except (ValueError, TypeError, KeyError) as exc:
                _log.error("move_unreadable", move=move_id, error=str(exc))
        return moves

    async def save(self, move: Move) -> None:
        """Write a move."""
        row = (move.wanted.move_id, move.wanted.begun_at, encode(move))
        await self._database.write(lambda connection: connection.execute(_SAVE, row).rowcount)

    async def forget(self, move_id: str) -> None:
        """Delete a record."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM move WHERE id = ?", (move_id,)).rowcount
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._database.close()


def encode(move: Move) -> str:
    """Return a move as text."""
    data = dataclasses.asdict(move)
    data["stage"], data["step"] = move.stage.value, move.step.value
    for name in ("owed", "put_off"):
        data[name] = [chore.name for chore in getattr(move, name)]
    if move.facts.spec is not None:
        data["facts"]["spec"] = base64.b64encode(move.facts.spec).decode("ascii")
    return json.dumps(data, separators=(",", ":"))


def decode(text: str) -> Move:
    """Return the move that `encode` made a text of.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    data: dict[str, Any] = json.loads(text)
    wanted, facts = data["wanted"], data["facts"]
    for name in ("volumes", "new_volumes"):
        wanted[name] = tuple(wanted[name])
    wanted["volume_mounts"] = tuple(VolumeMount(**mount) for mount in wanted["volume_mounts"])
    if facts["spec"] is not None:
        facts["spec"] = base64.b64decode(facts["spec"])
    return Move(
        wanted=Wanted(**wanted),
        stage=Stage(data["stage"]),
        step=Step(data["step"]),
        facts=Facts(**facts),
        failure=Failure(**data["failure"]) if data["failure"] else None,
        owed=tuple(Chore[name] for name in data["owed"]),
        put_off=tuple(Chore[name] for name in data["put_off"]),
        rounds=data["rounds"],
        notes=tuple(data["notes"]),
    )
