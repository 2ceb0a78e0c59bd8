"""The replicated store in one process, with virtual time: entries are committed when the world says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.swarmd.store import timestamps
from services.swarmd.store.changes import Committed, Refused
from services.swarmd.store.memory import Memory
from services.swarmd.store.transaction import Tx
from services.swarmd.store.views import View

EPOCH = 1_700_000_000.0


class Ids:
    """Ids that sort in the order in which they were made."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> str:
        self._count += 1
        return f"{self._count:025d}"


class Cluster:
    """The store, the clock, and who listens."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.memory = Memory()
        self.listeners: list[Callable[[Committed], None]] = []
        self.refused = 0
        self.new_id = Ids()

    @property
    def time(self) -> Timestamp:
        time = Timestamp()
        timestamps.put(time, self.now)
        return time

    @property
    def datetime(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def view(self) -> View:
        return self.memory.view()

    def commit(self, data: bytes) -> Committed | Refused:
        """Commit one entry, as raft would at its next index."""
        result = self.memory.apply(self.memory.index + 1, data)
        if isinstance(result, Refused):
            self.refused += 1
        elif result.changes:
            for listener in self.listeners:
                listener(result)
        return result

    def update(self, change: Callable[[Tx], Any]) -> Any:
        """What `Store.update` does, without anybody between the view and the commit."""
        tx = Tx(self.view())
        value = change(tx)
        if tx.size:
            result = self.commit(tx.entry(self.time))
            assert isinstance(result, Committed), f"nobody else writes, yet {result}"
        return value

    def restarted(self) -> None:
        """Replace the store by its own snapshot: what a member that was away goes on from."""
        fresh = Memory()
        fresh.restore(self.memory.snapshot())
        assert fresh.snapshot() == self.memory.snapshot()
        self.memory = fresh

    def entries(self, tx: Tx, unit: Callable[[Any], Any]) -> Iterator[Any]:
        return tx.entries(self.time, unit)
