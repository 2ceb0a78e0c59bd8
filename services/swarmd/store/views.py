"""Reading the store: what `View` and `Tx` have in common, and `View`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from services.swarmd.store.rows import Rows
    from services.swarmd.store.tables import Index, M, Table


class Reader(Protocol):
    """A store that can be read; the order of what is returned means nothing."""

    def get(self, table: Table[M], object_id: str, /) -> M | None:
        """Return an object by its id, or None."""
        ...

    def list(self, table: Table[M], /) -> Sequence[M]:
        """Return all objects of a table."""
        ...

    def find(self, index: Index[M], key: Hashable, /) -> Sequence[M]:
        """Return the objects that an index has under a key."""
        ...


class View:
    """The store as it was at one raft index. Cheap to take; do not keep it longer than it is needed."""

    __slots__ = ("__weakref__", "_tables", "index")

    def __init__(self, index: int, tables: dict[str, Rows[Any]]) -> None:
        self.index = index
        self._tables = tables

    def get(self, table: Table[M], object_id: str) -> M | None:
        """Return an object by its id, or None."""
        rows: Rows[M] = self._tables[table.name]
        return rows.get(object_id)

    def list(self, table: Table[M]) -> Sequence[M]:
        """Return all objects of a table, in no order that means anything."""
        rows: Rows[M] = self._tables[table.name]
        return tuple(rows)

    def find(self, index: Index[M], key: Hashable) -> Sequence[M]:
        """Return the objects that an index has under a key, in no order that means anything."""
        rows: Rows[M] = self._tables[index.table]
        return tuple(rows.find(index, key))

    def count(self, table: Table[M]) -> int:
        """Return how many objects a table has."""
        return len(self._tables[table.name])
