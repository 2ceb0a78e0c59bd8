"""The store in memory, and how one raft entry changes it.

Rules
- `apply` is deterministic and total: the same entries at the same indexes give the same store on every member, and any
  bytes whatever give a result, never an exception.
- An entry happens wholly or not at all. What it was made from is checked here, when its place in the order is settled:
  the version of each object that it changes, and of each that it only relied on.
- The version of an object is the raft index of the entry that changed it last; the store alone writes `meta`, and
  replaces a `spec_version` of 0 by the index.
- A `View` stays as it is. While somebody holds one, the tables that an entry changes are cloned first.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2, store_pb2
from services.swarmd.store import encoding
from services.swarmd.store.changes import Change, Committed, Refusal, Refused
from services.swarmd.store.rows import Rows
from services.swarmd.store.tables import INDEXES, TABLES
from services.swarmd.store.views import View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from services.swarmd.store.tables import Table

_NAME_INDEXES = {index.table: index for index in INDEXES if index.name == "name"}


class _Stop(Exception):
    """Ends the work on an entry that must not happen."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused


class Memory:
    """All tables."""

    def __init__(self) -> None:
        self.index = 0
        self._tables: dict[str, Rows[Any]] = {}
        self._shared: dict[str, list[weakref.ref[View]]] = {}
        self._view: weakref.ref[View] | None = None
        self._set_tables({table.name: Rows(table) for table in TABLES})

    def view(self) -> View:
        """Return the store as it is now. All who ask between two changes get the same view."""
        view = self._view() if self._view is not None else None
        if view is None:
            view = View(self.index, self._tables.copy())
            self._view = weakref.ref(view)
            for refs in self._shared.values():
                refs[:] = [ref for ref in refs if ref() is not None]
                refs.append(self._view)
        return view

    def apply(self, index: int, data: bytes) -> Committed | Refused:
        """Apply one raft entry."""
        assert index > self.index, f"entry {index} comes after entry {self.index} is applied"
        self._view = None
        self.index = index
        undo: list[Change[Any]] = []
        try:
            transaction = encoding.parse_transaction(data)
            self._check_unchanged(index, transaction)
            for change in transaction.changes:
                table, obj = encoding.unwrap(change.object)
                undo.append(self._apply_change(index, transaction.time, change, table, obj))
        except encoding.Malformed:
            self._undo(undo)
            return Refused(index, Refusal.MALFORMED)
        except _Stop as stop:
            self._undo(undo)
            return stop.refused
        return Committed(index, tuple(undo))

    def snapshot(self) -> bytes:
        """Return the whole store; equal stores give equal bytes."""
        return snapshot_of(self.view())

    def restore(self, data: bytes) -> None:
        """Replace the whole store by a snapshot.

        Raises:
            encoding.Malformed: It is none; the store is left as it was.
        """
        index, objects = encoding.parse_snapshot(data)
        tables: dict[str, Rows[Any]] = {table.name: Rows(table) for table in TABLES}
        for table, obj in objects:
            tables[table.name].put(obj)
        self.index = index
        self._set_tables(tables)

    def _set_tables(self, tables: dict[str, Rows[Any]]) -> None:
        self._tables = tables
        self._shared = {name: [] for name in tables}
        self._view = None

    def _own(self, name: str) -> Rows[Any]:
        """Return a table that may be changed in place: a clone of it, if a view has it that somebody still holds."""
        refs = self._shared[name]
        if any(ref() is not None for ref in refs):
            self._tables[name] = self._tables[name].clone()
        refs.clear()
        return self._tables[name]

    def _check_unchanged(self, index: int, transaction: store_pb2.StoreTransaction) -> None:
        for key, version in sorted(transaction.unchanged.items()):
            name, _, object_id = key.partition("/")
            if name not in self._tables:
                raise encoding.Malformed(f"a condition on {key!r}")
            current = self._tables[name].get(object_id)
            if (current.meta.version if current is not None else 0) != version:
                raise _Stop(Refused(index, Refusal.VERSION, name, object_id))

    def _apply_change(
        self, index: int, time: Timestamp, change: store_pb2.StoreChange, table: Table[Any], obj: Any
    ) -> Change[Any]:
        rows = self._own(table.name)
        old = rows.get(obj.id)
        match change.action:
            case store_pb2.STORE_ACTION_CREATE:
                if old is not None:
                    raise _Stop(Refused(index, Refusal.EXISTS, table.name, obj.id))
            case store_pb2.STORE_ACTION_UPDATE | store_pb2.STORE_ACTION_REMOVE:
                if old is None:
                    raise _Stop(Refused(index, Refusal.MISSING, table.name, obj.id))
                if change.expected_version not in {0, old.meta.version}:
                    raise _Stop(Refused(index, Refusal.VERSION, table.name, obj.id))
            case _:
                raise encoding.Malformed(f"action {change.action}")
        if change.action == store_pb2.STORE_ACTION_REMOVE:
            rows.discard(obj.id)
            return Change(table, obj.id, old, None)
        self._check_name(index, table, obj)
        _stamp(obj, old, index, time)
        rows.put(obj)
        return Change(table, obj.id, old, obj)

    def _check_name(self, index: int, table: Table[Any], obj: Any) -> None:
        if table.unique_name is None:
            return
        name = table.unique_name(obj)
        others = self._tables[table.name].find(_NAME_INDEXES[table.name], name.casefold()) if name else ()
        if any(other.id != obj.id for other in others):
            raise _Stop(Refused(index, Refusal.NAME, table.name, obj.id, name))

    def _undo(self, changes: Iterable[Change[Any]]) -> None:
        for change in reversed(list(changes)):
            rows = self._tables[change.table.name]
            if change.old is None:
                rows.discard(change.id)
            else:
                rows.put(change.old)


def snapshot_of(view: View) -> bytes:
    """Return what a view shows as a snapshot. May run in any thread: a view stays as it is."""
    objects = ((table, obj) for table in TABLES for obj in sorted(view.list(table), key=lambda obj: obj.id))
    return encoding.dump_snapshot(view.index, objects)


def _stamp(obj: Any, old: Any, index: int, time: Timestamp) -> None:
    """Set what the store alone writes."""
    meta: objects_pb2.Meta = obj.meta
    if old is None:
        meta.created_version = index
        meta.created_at.CopyFrom(time)
    else:
        meta.CopyFrom(old.meta)
    meta.version = index
    meta.updated_at.CopyFrom(time)
    if isinstance(obj, objects_pb2.Service) and obj.spec_version == 0:
        obj.spec_version = index
