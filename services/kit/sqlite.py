"""SQLite for a daemon's own records: durable when `write` returns, and never on the event loop's thread.

One thread owns the writing connection, a second one the reading connection; WAL lets them work at the same time. The
writer takes what has queued up while the disk was busy into one transaction, so that many small writes share a sync.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
import queue
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from services.kit import atomic, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")
Statement: TypeAlias = "Callable[[sqlite3.Connection], T]"

PENDING_MAX = 10_000
BATCH_MAX = 64
_BUSY_TIMEOUT_S = 5.0


class Database:
    """One SQLite file. Made by `open`, ended by `close` or the end of its `async with` block."""

    def __init__(self, writing: sqlite3.Connection, reading: sqlite3.Connection) -> None:
        self._writer = _Worker("sqlite-write", writing, _run_in_one_transaction, BATCH_MAX)
        self._reader = _Worker("sqlite-read", reading, _run_read, 1)

    @classmethod
    async def open(cls, path: Path | str, migrations: Sequence[str]) -> Database:
        """Open or create the file and bring its schema up to date.

        Args:
            path: The database file; its directory exists.
            migrations: SQL scripts; number n takes the schema from version n to n+1. Only ever append to the list.

        Raises:
            errors.FailedPrecondition: A newer version of the program wrote it (DATABASE_TOO_NEW).
            errors.Internal: The file is not a sound database (DATABASE_CORRUPT), or a migration does not work.
        """
        return cls(*await asyncio.to_thread(_prepare, Path(path), migrations))

    async def read(self, fn: Statement[T]) -> T:
        """Return `fn(connection)`, run against one consistent state which includes every write that has returned.

        The function runs on another thread: it must touch nothing but the connection and immutable values.
        """
        return await self._reader.submit(fn)

    async def write(self, fn: Statement[T]) -> T:
        """Return `fn(connection)` when what it wrote is on disk. If `fn` raises, nothing of it remains.

        The function runs on another thread, as in `read`. If the caller is cancelled, the write may happen or not, but
        never in part.

        Raises:
            errors.Exhausted: The disk is full (DISK_FULL), or too many calls wait.
        """
        return await self._writer.submit(fn)

    async def close(self) -> None:
        """Finish what was submitted, then close the file."""
        await self._reader.close()
        await self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()


@dataclasses.dataclass(slots=True)
class _Job:
    """A function that the worker runs, and who waits for it."""

    fn: Statement[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    failure: BaseException | None = None


class _Worker:
    """A thread with a connection of its own, which runs the jobs of a queue in batches."""

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        run: Callable[[sqlite3.Connection, list[_Job]], None],
        batch_max: int,
    ) -> None:
        self._connection = connection
        self._run = run
        self._batch_max = batch_max
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._pending = 0
        self._closed = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    async def submit(self, fn: Statement[T]) -> T:
        if self._closed:
            raise errors.Unavailable("the database is closed", reason="SHUTTING_DOWN")
        if self._pending >= PENDING_MAX:
            raise errors.Exhausted(f"{self._pending} database calls wait already", reason="TOO_MANY_WAITING")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        self._jobs.put(_Job(fn, loop, future))
        return await future

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        with contextlib.closing(self._connection) as connection:
            while batch := self._next_batch():
                self._run(connection, batch)
                by_loop = collections.defaultdict(list)
                for job in batch:
                    by_loop[job.loop].append(job)
                for loop, jobs in by_loop.items():
                    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                        loop.call_soon_threadsafe(self._resolve, jobs)

    def _next_batch(self) -> list[_Job]:
        """Wait for a job and take what is there with it; empty when the worker is closed."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == self._batch_max:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        else:
            self._jobs.put(None)  # for the next round, which then is the last
            if not batch:
                return []
        return batch

    def _resolve(self, jobs: list[_Job]) -> None:
        self._pending -= len(jobs)
        for job in jobs:
            if job.future.done():
                continue
            if job.failure is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.failure)


def _run_read(connection: sqlite3.Connection, batch: list[_Job]) -> None:
    for job in batch:
        try:
            connection.execute("BEGIN")
            try:
                job.result = job.fn(connection)
            finally:
                connection.execute("ROLLBACK")
        except BaseException as exc:  # noqa: BLE001 (whatever it is belongs to the caller who waits)
            job.failure = _translated(exc)


def _run_in_one_transaction(connection: sqlite3.Connection, batch: list[_Job]) -> None:
    """Run each job in a savepoint of one transaction; a job that fails takes back its own changes only."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in batch:
            connection.execute("SAVEPOINT job")
            try:
                job.result = job.fn(connection)
            except BaseException as exc:
                job.failure = _translated(exc)
                if not connection.in_transaction:  # SQLite has rolled everything back: disk full, i/o error
                    raise
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except BaseException as exc:  # noqa: BLE001 (whatever it is belongs to the callers who wait)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for job in batch:
            job.failure = job.failure or _translated(exc)


def _prepare(path: Path, migrations: Sequence[str]) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Create the file if needed and migrate it; return a connection that writes and one that reads."""
    created = not path.exists()
    with contextlib.ExitStack() as on_failure:
        try:
            writing = on_failure.enter_context(contextlib.closing(_connect(path)))
            path.chmod(0o600)  # the journal files take the mode of the database
            _migrate(path, writing, migrations)
            reading = on_failure.enter_context(contextlib.closing(_connect(path, query_only=True)))
        except sqlite3.Error as exc:
            raise _explained(path, exc) from exc
        if created:
            atomic.fsync_dir(path.parent)
        on_failure.pop_all()
    return writing, reading


def _migrate(path: Path, connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise errors.FailedPrecondition(
            f"the database {path} has schema version {version}, this program knows {len(migrations)}:"
            " a newer version of the program wrote it; install that one again",
            reason="DATABASE_TOO_NEW",
        )
    for number in range(version, len(migrations)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{migrations[number]}\n;PRAGMA user_version = {number + 1};\nCOMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _connect(path: Path, *, query_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        os.fspath(path),
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions begin and end where we say
        check_same_thread=False,  # made here, then used by one worker thread only
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if query_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _translated(exc: BaseException) -> BaseException:
    if isinstance(exc, sqlite3.Error) and _primary_code(exc) == sqlite3.SQLITE_FULL:
        return errors.Exhausted("the disk is full: the records cannot be written", reason="DISK_FULL")
    if isinstance(exc, StopIteration):  # a future cannot carry it
        return RuntimeError("StopIteration out of a database function")
    return exc


def _explained(path: Path, exc: sqlite3.Error) -> errors.BeeyardError:
    """Return the error for a file that cannot be opened."""
    code = _primary_code(exc)
    if code == sqlite3.SQLITE_FULL:
        return errors.Exhausted(f"the disk is full: cannot open the database {path}", reason="DISK_FULL")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return errors.Internal(
            f"the database {path} is damaged ({exc}): restore it from a backup, or move it away to start without its"
            " records",
            reason="DATABASE_CORRUPT",
        )
    return errors.Internal(f"cannot open the database {path}: {exc}", reason="DATABASE_FAILED")


def _primary_code(exc: sqlite3.Error) -> int:
    code: int = getattr(exc, "sqlite_errorcode", 0)  # absent where Python itself raised the error
    return code & 0xFF
