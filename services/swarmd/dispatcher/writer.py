"""Writes many small changes of single objects in few transactions.

What comes in while a transaction is on its way to the disk goes into the next one; a short pause before the first lets
what comes together go together. Each change is a function of the object as it then is, so nothing here is decided on an
old value.
"""

from __future__ import annotations

import asyncio
import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from services.kit import errors, log
from services.swarmd.store.tables import M, Table
from services.swarmd.store.transaction import Tx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.kit.seams import Clock
    from services.swarmd.store.store import Store

_log = log.get(__name__)

GATHER_S = 0.005
BATCH_MAX = 1000
PENDING_MAX = 100_000
ROUNDS_MAX = 200
ROUND_PAUSE_S = 0.002
"""An object that somebody else is just writing is free again after one trip to the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(Generic[M]):
    """A change of one object.

    Attributes:
        table: Its kind.
        id: Its id; if it is not there, nothing happens.
        change: Returns the changed copy, None to leave it. Called again if the object changed under it.
    """

    table: Table[M]
    id: str
    change: Callable[[M], M | None]


_Key: TypeAlias = "tuple[str, str]"


@dataclass(slots=True)
class _Request:
    edits: Sequence[Edit[Any]]
    done: asyncio.Future[None]


class Writer:
    """Takes edits from many callers. `run` writes them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: collections.deque[_Request] = collections.deque()
        self._edits_waiting = 0
        self._wakeup = asyncio.Event()
        self._running = True

    async def write(self, edits: Sequence[Edit[Any]]) -> None:
        """Return when the edits are durable.

        Raises:
            errors.Exhausted: Too much waits already (TOO_MANY_WAITING).
            errors.BeeyardError: The store did not take them; any of them may have happened.
        """
        if not edits:
            return
        if not self._running:
            raise _stopped()
        if self._edits_waiting + len(edits) > PENDING_MAX:
            raise errors.Exhausted(f"{self._edits_waiting} changes wait already", reason="TOO_MANY_WAITING")
        request = _Request(edits, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._edits_waiting += len(edits)
        self._wakeup.set()
        await request.done

    async def run(self) -> None:
        """Write what comes, until cancelled; what waits then is refused."""
        batch: list[_Request] = []
        try:
            while True:
                await self._wakeup.wait()
                await self._clock.sleep(GATHER_S)
                batch = self._take()
                await self._write(batch)
        finally:
            self._running = False
            for request in (*batch, *self._waiting):
                if not request.done.done():
                    request.done.set_exception(_stopped())

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0].edits) <= BATCH_MAX):
            batch.append(self._waiting.popleft())
            count += len(batch[-1].edits)
        self._edits_waiting -= count
        if not self._waiting:
            self._wakeup.clear()
        return batch

    async def _write(self, batch: Sequence[_Request]) -> None:
        edits: dict[_Key, list[Edit[Any]]] = {}
        for request in batch:
            for edit in request.edits:
                edits.setdefault((edit.table.name, edit.id), []).append(edit)
        failure: errors.BeeyardError | None = None
        try:
            await self._write_all(edits)
        except errors.BeeyardError as exc:
            _log.warning("batch_not_written", reason=exc.reason, error=exc.message, edits=len(edits))
            failure = exc
        for request in batch:
            if request.done.done():
                continue  # its caller has left
            if failure is None:
                request.done.set_result(None)
            else:
                request.done.set_exception(failure)

    async def _write_all(self, edits: dict[_Key, list[Edit[Any]]]) -> None:
        for _ in range(ROUNDS_MAX):
            undone = await self._store.write(self._transaction(edits), lambda write: write.id)
            if not undone:
                return
            edits = {key: edits[key] for key in ((write.table.name, write.id) for write in undone)}
            await self._clock.sleep(ROUND_PAUSE_S)
        raise errors.Conflict(f"{len(edits)} objects are written by somebody else all the time")

    def _transaction(self, edits: dict[_Key, list[Edit[Any]]]) -> Tx:
        tx = Tx(self._store.view())
        for edits_of_one in edits.values():
            for edit in edits_of_one:
                obj = tx.get(edit.table, edit.id)
                changed = edit.change(obj) if obj is not None else None
                if changed is not None:
                    tx.update(edit.table, changed)
        return tx


def _stopped() -> errors.BeeyardError:
    return errors.FailedPrecondition("this manager does not lead any longer", reason="NOT_LEADER")
