"""The database on a real file: durable, atomic per call, and honest about its troubles."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.kit import errors
from services.kit import sqlite as databases
from services.kit.sqlite import Database

SCHEMA = ["CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"]


def insert(number: int) -> Callable[[sqlite3.Connection], None]:
    def run(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO items VALUES (?, ?)", (number, f"item {number}"))

    return run


def ids(connection: sqlite3.Connection) -> list[int]:
    return [row["id"] for row in connection.execute("SELECT id FROM items ORDER BY id")]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "x.db", SCHEMA) as opened:
        yield opened


async def test_what_was_written_is_read(database: Database) -> None:
    await database.write(insert(1))
    assert await database.read(ids) == [1]


async def test_a_write_survives_without_a_close(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "x.db", SCHEMA) as database:
        await database.write(insert(1))
        with sqlite3.connect(tmp_path / "x.db") as other:
            assert other.execute("SELECT count(*) FROM items").fetchone() == (1,)
        other.close()


async def test_settings_are_those_that_make_it_durable(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    full = 2
    assert await database.write(pragmas) == ["wal", full, 1]


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        insert(1)(connection)
        raise errors.Invalid("not this one")

    with pytest.raises(errors.Invalid):
        await database.write(half)
    assert await database.read(ids) == []


async def test_writes_that_share_a_transaction_fail_apart(database: Database) -> None:
    held = threading.Event()
    blocker = asyncio.ensure_future(database.write(lambda _: held.wait(10)))
    await asyncio.sleep(0)
    outcomes = asyncio.gather(*(database.write(insert(n % 7)) for n in range(14)), return_exceptions=True)
    await asyncio.sleep(0)
    held.set()
    await blocker
    failed = [outcome for outcome in await outcomes if outcome is not None]
    assert len(failed) == 7
    assert all(isinstance(outcome, sqlite3.IntegrityError) for outcome in failed)
    assert await database.read(ids) == list(range(7))


async def test_many_writers_and_readers(database: Database) -> None:
    async def one(number: int) -> None:
        await database.write(insert(number))
        assert number in await database.read(ids)

    await asyncio.gather(*(one(number) for number in range(300)))
    assert await database.read(ids) == list(range(300))


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(insert(1))


async def test_a_read_sees_one_state(database: Database) -> None:
    began, go_on = threading.Event(), threading.Event()

    def twice(connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
        before = ids(connection)
        began.set()
        go_on.wait(10)
        return before, ids(connection)

    reading = asyncio.ensure_future(database.read(twice))
    await asyncio.to_thread(began.wait, 10)
    await database.write(insert(1))
    go_on.set()
    assert await reading == ([], [])
    assert await database.read(ids) == [1]


async def test_a_cancelled_caller_disturbs_nobody(database: Database) -> None:
    writing = asyncio.ensure_future(database.write(insert(1)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await database.write(insert(2))
    assert await database.read(ids) in ([2], [1, 2])


async def test_stop_iteration_reaches_the_caller_as_a_fault(database: Database) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.read(lambda connection: next(connection.execute("SELECT 1 WHERE 0")))


async def test_after_the_close(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db", SCHEMA)
    last = asyncio.ensure_future(database.write(insert(1)))
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    await last
    for call in (database.read(ids), database.write(insert(2))):
        with pytest.raises(errors.Unavailable):
            await call


async def test_too_many_waiting_calls_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PENDING_MAX", 2)
    held = threading.Event()
    waiting = [asyncio.ensure_future(database.write(lambda _: held.wait(10))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Exhausted) as caught:
        await database.write(insert(1))
    assert caught.value.reason == "TOO_MANY_WAITING"
    held.set()
    await asyncio.gather(*waiting)
    await database.write(insert(1))


async def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "x.db", SCHEMA) as database:
        await database.write(insert(1))
    longer = [*SCHEMA, "ALTER TABLE items ADD COLUMN size INTEGER NOT NULL DEFAULT 7; -- why not"]
    for _ in range(2):
        async with await Database.open(tmp_path / "x.db", longer) as database:
            rows = await database.read(lambda c: [tuple(row) for row in c.execute("SELECT * FROM items")])
            assert rows == [(1, "item 1", 7)]


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    await (await Database.open(tmp_path / "x.db", SCHEMA)).close()
    broken = [*SCHEMA, "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1)"]
    with pytest.raises(errors.Internal, match="no such table: nowhere"):
        await Database.open(tmp_path / "x.db", broken)
    fixed = [*SCHEMA, "CREATE TABLE more (x)"]
    async with await Database.open(tmp_path / "x.db", fixed) as database:
        await database.write(insert(1))


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "x.db", [*SCHEMA, "CREATE TABLE more (x)"]):
        pass
    with pytest.raises(errors.FailedPrecondition, match="a newer version of the program wrote it") as caught:
        await Database.open(tmp_path / "x.db", SCHEMA)
    assert caught.value.reason == "DATABASE_TOO_NEW"


async def test_a_damaged_file_is_refused_with_an_explanation(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(errors.Internal, match="is damaged") as caught:
        await Database.open(tmp_path / "x.db", SCHEMA)
    assert caught.value.reason == "DATABASE_CORRUPT"


async def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.Internal, match="cannot open the database") as caught:
        await Database.open(tmp_path / "missing" / "x.db", SCHEMA)
    assert caught.value.reason == "DATABASE_FAILED"


async def test_a_full_database_is_told_and_lives_on(database: Database) -> None:
    await database.write(insert(0))

    def fill(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.executemany("INSERT INTO items VALUES (?, ?)", ((n, "x" * 1000) for n in range(1, 1000)))

    with pytest.raises(errors.Exhausted) as caught:
        await database.write(fill)
    assert caught.value.reason == "DISK_FULL"
    assert await database.read(ids) == [0]
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    await database.write(insert(1))
    assert await database.read(ids) == [0, 1]


async def test_the_file_is_private(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "x.db", SCHEMA) as database:
        await database.write(insert(1))
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("x.db*")} == {0o600}
