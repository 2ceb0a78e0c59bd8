"""The store as the rest of swarmd sees it: views, updates, watches; and as raft sees it: a state machine.

`update` runs a plain function on a transaction over the newest view, sends the outcome through raft, and returns when
it is applied here. Two updates of this process never race for one object: one that would write what another has under
way waits for it and is then worked out anew. What remains are writes of another leader; they make `errors.Conflict`.

All of it belongs to one event loop; nothing here awaits between reading the store and deciding what to propose.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from services.kit import errors
from services.swarmd.store import refusals
from services.swarmd.store.changes import Committed, Refusal, Refused
from services.swarmd.store.feed import CHANGES_KEPT_MAX, Feed
from services.swarmd.store.memory import Memory, snapshot_of
from services.swarmd.store.transaction import Tx

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from services.kit.seams import Clock
    from services.swarmd.store.entries import Entry, Write
    from services.swarmd.store.feed import Watch
    from services.swarmd.store.views import View

T = TypeVar("T")

RETRIES_MAX = 8


class Proposer(Protocol):
    """Sends entries through raft."""

    async def propose(self, data: bytes) -> object:
        """Return what `apply` returned for the entry, once it is committed and applied on this member.

        Raises:
            errors.Unavailable: It is unknown whether the entry will be committed, or it certainly will not be.
        """
        ...


class Store:
    """The replicated store on one member.

    Args:
        clock: Stamps the transactions that are proposed here.
        changes_kept_max: How many changes are kept for those who watch.
    """

    def __init__(self, clock: Clock, *, changes_kept_max: int = CHANGES_KEPT_MAX) -> None:
        self._clock = clock
        self._memory = Memory()
        self._feed = Feed(changes_kept_max)
        self._proposer: Proposer | None = None
        self._in_flight: dict[tuple[str, str], asyncio.Future[None]] = {}

    # What raft calls.

    def apply(self, index: int, data: bytes) -> object:
        """Apply a committed entry; the result is a `Committed` or a `Refused`."""
        result = self._memory.apply(index, data)
        if isinstance(result, Committed) and result.changes:
            self._feed.publish(result)
        return result

    def snapshot(self) -> Callable[[], bytes]:
        """Return, at once, a function that returns the whole store as it was now; it may run in any thread."""
        return functools.partial(snapshot_of, self.view())

    def restore(self, data: bytes) -> None:
        """Replace the whole store.

        Raises:
            encoding.Malformed: The bytes are no snapshot; the store is left as it was.
        """
        self._memory.restore(data)
        self._feed.reset(self._memory.index)

    def bind(self, proposer: Proposer) -> None:
        """Set where updates are proposed."""
        self._proposer = proposer

    def close(self) -> None:
        """End all watches."""
        self._feed.close()

    # What the rest of swarmd calls.

    @property
    def index(self) -> int:
        """Raft index of the last entry applied here."""
        return self._memory.index

    def view(self) -> View:
        """Return the store as it is now, unchangeable."""
        return self._memory.view()

    def watch(self, since: int | None = None) -> Watch:
        """Return a reader of what is committed after the raft index `since`; without it, after now."""
        return self._feed.watch(since)

    async def update(self, change: Callable[[Tx], T], *, retry: bool = True) -> T:
        """Run `change` on a transaction and make it happen; return what it returned.

        Args:
            change: Reads and writes the transaction. Run again, from the start, when what it relied on has changed
                under it; so it must have no effect of its own. What it raises is raised here, and nothing happens.
            retry: Whether to run it again after a conflict too, up to `RETRIES_MAX` times. Leave it out where
                somebody decided from what they read before.

        Raises:
            errors.Conflict: Somebody else changed what the change relied on.
            errors.Exhausted: The change does not fit into an entry.
            errors.Unavailable: There is no leader, this is not it, or it is unknown whether the change happened.
        """
        attempts = RETRIES_MAX if retry else 1
        while True:
            tx = Tx(self.view())
            value = change(tx)
            writes = tx.writes()
            if not writes:
                return value
            blocker = self._blocker(writes)
            if blocker is not None:
                del tx
                await asyncio.wait([blocker])
                continue
            entry = tx.entry(self._timestamp())
            del tx  # else the view would be kept while the entry is applied, which costs a copy
            result = await self._propose(writes, entry)
            if isinstance(result, Committed):
                return value
            attempts -= 1
            # A name or an id that was taken meanwhile is found by `change` itself when it runs again.
            if attempts == 0 or result.refusal is Refusal.MALFORMED:
                raise refusals.error_of(result)

    async def write(self, tx: Tx, unit: Callable[[Write], Hashable]) -> list[Write]:
        """Make as much of a transaction happen as can: for those who look again at what is missing.

        The transaction is divided into entries, which are proposed together. Each happens or is refused on its own;
        writes of one `unit` stay together. An entry that would write what another update has under way is not even
        proposed.

        Returns:
            The writes that did not happen.

        Raises:
            errors.Exhausted: One change alone is too large for an entry; nothing was proposed.
            errors.Unavailable: As for `update`; any of the entries may have happened.
        """
        entries = list(tx.entries(self._timestamp(), unit))
        del tx
        free = [entry for entry in entries if self._blocker(entry.writes) is None]
        results = await self._propose_all(free)
        undone = [write for entry in entries if entry not in free for write in entry.writes]
        for entry, result in zip(free, results, strict=True):
            if isinstance(result, Refused):
                undone.extend(entry.writes)
        return undone

    async def _propose_all(self, entries: Sequence[Entry]) -> Sequence[Committed | Refused]:
        if len(entries) == 1:
            return (await self._propose(entries[0].writes, entries[0].data),)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._propose(entry.writes, entry.data)) for entry in entries]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the rest failed for the same reason or were called off
        return [task.result() for task in tasks]

    def _blocker(self, writes: Iterable[Write]) -> asyncio.Future[None] | None:
        """Return what stands for another update that is under way and writes one of these objects."""
        for write in writes:
            blocker = self._in_flight.get((write.table.name, write.id))
            if blocker is not None:
                return blocker
        return None

    async def _propose(self, writes: Sequence[Write], data: bytes) -> Committed | Refused:
        if self._proposer is None:
            raise errors.Unavailable(
                "this node does not take part in a swarm as a manager", reason="NOT_A_MANAGER"
            )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keys = [(write.table.name, write.id) for write in writes]
        self._in_flight.update(dict.fromkeys(keys, done))
        try:
            result = await self._proposer.propose(data)
        finally:
            for key in keys:
                if self._in_flight.get(key) is done:
                    del self._in_flight[key]
            done.set_result(None)
        assert isinstance(result, Committed | Refused), f"raft answered {result!r} for an entry of the store"
        return result

    def _timestamp(self) -> Timestamp:
        time = Timestamp()
        time.FromDatetime(self._clock.now())
        return time
