"""How a change of the store is put together: a `Tx` over a view, and its bytes.

A `Tx` reads its own writes. Nothing of it is visible to others until its bytes have gone through raft; there each
change happens only if its object still has the version that the view had, so that a decision never rests on what
somebody else has changed meanwhile. Changes of one object merge: made and then changed is made; made and then removed
is nothing; changed to what it was is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.swarmd.store import entries, refusals
from services.swarmd.store.entries import Write
from services.swarmd.store.rows import Rows
from services.swarmd.store.tables import INDEXES, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from services.swarmd.store.entries import Entry
    from services.swarmd.store.tables import Index, M, Table
    from services.swarmd.store.views import View

_NAME_INDEXES = {index.table: index for index in INDEXES if index.name == "name"}


class Tx:
    """A transaction that is being put together. Not to be kept beyond the function that fills it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._written: dict[tuple[str, str], Write] = {}
        self._overlay: dict[str, Rows[Any]] = {table.name: Rows(table) for table in TABLES}
        self._touched: dict[str, set[str]] = {table.name: set() for table in TABLES}
        self._unchanged: dict[str, int] = {}

    @property
    def index(self) -> int:
        """Raft index of the view below."""
        return self._view.index

    @property
    def size(self) -> int:
        """How many objects the transaction changes by now."""
        return len(self._written)

    def get(self, table: Table[M], object_id: str, /) -> M | None:
        """Return an object by its id, or None."""
        if object_id in self._touched[table.name]:
            rows: Rows[M] = self._overlay[table.name]
            return rows.get(object_id)
        return self._view.get(table, object_id)

    def list(self, table: Table[M], /) -> Sequence[M]:
        """Return all objects of a table, in no order that means anything."""
        rows: Rows[M] = self._overlay[table.name]
        return self._merge(table.name, self._view.list(table), tuple(rows))

    def find(self, index: Index[M], key: Hashable, /) -> Sequence[M]:
        """Return the objects that an index has under a key, in no order that means anything."""
        rows: Rows[M] = self._overlay[index.table]
        return self._merge(index.table, self._view.find(index, key), tuple(rows.find(index, key)))

    def create(self, table: Table[M], obj: M) -> None:
        """Add an object.

        Raises:
            errors.AlreadyExists: One with its id or its name is there.
        """
        assert obj.id, f"a {table.name} needs an id"
        if self.get(table, obj.id) is not None:
            raise refusals.already_exists(table.name, obj.id)
        self._check_name(table, obj)
        self._write(table, obj.id, obj)

    def update(self, table: Table[M], obj: M, *, version: int = 0) -> None:
        """Replace an object by a changed copy.

        Args:
            table: Kind of the object.
            obj: The copy; the store now owns it.
            version: The version that the caller made the change from, if that was not just now in this transaction.

        Raises:
            errors.NotFound: It is not there.
            errors.Conflict: It has another version.
            errors.AlreadyExists: Its new name is taken.
        """
        current = self.get(table, obj.id)
        if current is None:
            raise refusals.not_found(table.name, obj.id)
        if version not in {0, current.meta.version}:
            raise refusals.out_of_sequence(table.name, obj.id)
        self._check_name(table, obj)
        self._write(table, obj.id, obj)

    def remove(self, table: Table[M], object_id: str, *, version: int = 0) -> None:
        """Remove an object.

        Raises:
            errors.NotFound: It is not there.
            errors.Conflict: It has another version.
        """
        current = self.get(table, object_id)
        if current is None:
            raise refusals.not_found(table.name, object_id)
        if version not in {0, current.meta.version}:
            raise refusals.out_of_sequence(table.name, object_id)
        self._write(table, object_id, None)

    def require_unchanged(self, table: Table[M], object_id: str) -> None:
        """Let the transaction happen only if an object that it relies on, and does not write, is as the view has it.

        An object that is absent must then still be absent.
        """
        current = self._view.get(table, object_id)
        self._unchanged[f"{table.name}/{object_id}"] = current.meta.version if current is not None else 0

    def writes(self) -> Sequence[Write]:
        """Return what the transaction changes, in the order in which the objects were first written."""
        return tuple(self._written.values())

    def entry(self, time: Timestamp) -> bytes:
        """Return the transaction as one raft entry.

        Raises:
            errors.Exhausted: It is too large for one.
        """
        return entries.pack(self.writes(), self._unchanged, time)

    def entries(self, time: Timestamp, unit: Callable[[Write], Hashable]) -> Iterator[Entry]:
        """Return the transaction as several raft entries, each within the limits, each all or nothing.

        For changes of which any part may happen without the rest: what a reconciler wants, which comes back for what
        is missing. Writes of one `unit` stay in one entry as long as they fit into one.

        Raises:
            errors.Exhausted: One change alone is too large.
        """
        assert not self._unchanged, "conditions cannot be divided among entries"
        units: dict[Hashable, list[Write]] = {}
        for write in self.writes():
            units.setdefault(unit(write), []).append(write)
        return entries.divide(units.values(), time)

    def _merge(self, name: str, below: Sequence[M], above: Sequence[M]) -> Sequence[M]:
        touched = self._touched[name]
        if not touched:
            return below
        return (*(obj for obj in below if obj.id not in touched), *above)

    def _check_name(self, table: Table[M], obj: M) -> None:
        if table.unique_name is None:
            return
        name = table.unique_name(obj)
        index: Index[M] = _NAME_INDEXES[table.name]
        if name and any(other.id != obj.id for other in self.find(index, name.casefold())):
            raise refusals.name_in_use(table.name, name)

    def _write(self, table: Table[M], object_id: str, obj: M | None) -> None:
        below = self._view.get(table, object_id)
        rows: Rows[M] = self._overlay[table.name]
        key = (table.name, object_id)
        if obj == below:
            self._written.pop(key, None)
            self._touched[table.name].discard(object_id)
            rows.discard(object_id)
            return
        self._written[key] = Write(table, object_id, below, obj)
        self._touched[table.name].add(object_id)
        if obj is None:
            rows.discard(object_id)
        else:
            rows.put(obj)
