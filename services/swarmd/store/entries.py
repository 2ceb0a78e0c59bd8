"""The changes of transactions packed into raft entries. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import store_pb2
from services.swarmd.store import encoding, refusals
from services.swarmd.store.refusals import CHANGES_MAX, TRANSACTION_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from services.swarmd.store.tables import Table

# What an entry holds besides its changes: the time; and what a change costs besides itself: its tag and length.
_ENVELOPE_BYTES = 64
_TAG_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """One object as a transaction leaves it: `old` is what the view had, `new` what is wanted; not both are None."""

    table: Table[Any]
    id: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """The bytes of one raft entry and what they change."""

    writes: Sequence[Write]
    data: bytes


def pack(writes: Sequence[Write], unchanged: Mapping[str, int], time: Timestamp) -> bytes:
    """Return one entry.

    Raises:
        errors.Exhausted: It is too large.
    """
    if len(writes) > CHANGES_MAX:
        raise refusals.too_many(len(writes))
    transaction = store_pb2.StoreTransaction(
        changes=(_change(write) for write in writes), unchanged=unchanged, time=time
    )
    data = encoding.dump(transaction)
    if len(data) > TRANSACTION_BYTES_MAX:
        raise refusals.too_large(len(data))
    return data


def divide(units: Iterable[Sequence[Write]], time: Timestamp) -> Iterator[Entry]:
    """Yield entries that hold the units in their order; a unit is divided only if it alone is more than an entry.

    Raises:
        errors.Exhausted: One change alone is too large.
    """
    packer = _Packer(time)
    for writes in units:
        changes = [_change(write) for write in writes]
        sizes = [change.ByteSize() + _TAG_BYTES for change in changes]
        if not packer.fits(len(changes), sum(sizes)):
            yield from packer.flush()
        for write, change, size in zip(writes, changes, sizes, strict=True):
            if size > TRANSACTION_BYTES_MAX - _ENVELOPE_BYTES:
                raise refusals.too_large(size)
            if not packer.fits(1, size):
                yield from packer.flush()
            packer.add(write, change, size)
    yield from packer.flush()


class _Packer:
    """Collects changes for one entry after the other."""

    def __init__(self, time: Timestamp) -> None:
        self._time = time
        self._writes: list[Write] = []
        self._changes: list[store_pb2.StoreChange] = []
        self._size = _ENVELOPE_BYTES

    def fits(self, changes: int, size: int) -> bool:
        return len(self._changes) + changes <= CHANGES_MAX and self._size + size <= TRANSACTION_BYTES_MAX

    def add(self, write: Write, change: store_pb2.StoreChange, size: int) -> None:
        self._writes.append(write)
        self._changes.append(change)
        self._size += size

    def flush(self) -> Iterator[Entry]:
        if self._changes:
            transaction = store_pb2.StoreTransaction(changes=self._changes, time=self._time)
            yield Entry(tuple(self._writes), encoding.dump(transaction))
        self._writes, self._changes, self._size = [], [], _ENVELOPE_BYTES


def _change(write: Write) -> store_pb2.StoreChange:
    change = store_pb2.StoreChange()
    if write.old is None:
        change.action = store_pb2.STORE_ACTION_CREATE
    else:
        change.action = store_pb2.STORE_ACTION_REMOVE if write.new is None else store_pb2.STORE_ACTION_UPDATE
        change.expected_version = write.old.meta.version
    target = getattr(change.object, write.table.name)
    if write.new is None:
        target.id = write.id
    else:
        target.CopyFrom(write.new)
    return change
