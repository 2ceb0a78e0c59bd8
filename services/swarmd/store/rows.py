"""One table in memory: the objects by id, and buckets of them for every index.

Rules. A `Rows` that somebody reads is never changed: `clone` makes the one that goes on changing. A clone costs a copy
of the outer dictionaries; buckets are shared until one of them changes, which is what `_Bucket.owner` is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self

from services.swarmd.store.tables import INDEXES, M

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from services.swarmd.store.tables import Index, Table


class _Bucket(Generic[M]):
    """The objects under one key of one index, by id."""

    __slots__ = ("objects", "owner")

    def __init__(self, owner: object, objects: dict[str, M]) -> None:
        self.owner = owner
        self.objects = objects


class Rows(Generic[M]):
    """The objects of one table."""

    __slots__ = ("_buckets", "_by_id", "_indexes", "_token", "table")

    def __init__(
        self,
        table: Table[M],
        by_id: dict[str, M] | None = None,
        buckets: dict[str, dict[Hashable, _Bucket[M]]] | None = None,
    ) -> None:
        self.table = table
        self._by_id = by_id if by_id is not None else {}
        self._indexes: tuple[Index[M], ...] = tuple(index for index in INDEXES if index.table == table.name)
        self._buckets = buckets if buckets is not None else {index.name: {} for index in self._indexes}
        self._token = object()  # stands for the right to change a bucket in place

    def clone(self) -> Self:
        """Return a copy that changes apart from this one."""
        buckets = {name: under_name.copy() for name, under_name in self._buckets.items()}
        return type(self)(self.table, self._by_id.copy(), buckets)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[M]:
        return iter(self._by_id.values())

    def get(self, object_id: str) -> M | None:
        """Return an object, or None."""
        return self._by_id.get(object_id)

    def find(self, index: Index[M], key: Hashable) -> Iterable[M]:
        """Return the objects that an index has under a key."""
        bucket = self._buckets[index.name].get(key)
        return bucket.objects.values() if bucket is not None else ()

    def put(self, obj: M) -> M | None:
        """Add an object, or replace the one with its id; return what was there."""
        old = self._by_id.get(obj.id)
        self._by_id[obj.id] = obj
        for index in self._indexes:
            keys = tuple(index.keys(obj))
            if old is not None:
                for key in index.keys(old):
                    if key not in keys:
                        self._drop(index.name, key, obj.id)
            for key in keys:
                self._owned(index.name, key)[obj.id] = obj
        return old

    def discard(self, object_id: str) -> M | None:
        """Remove an object; return what was there."""
        old = self._by_id.pop(object_id, None)
        if old is not None:
            for index in self._indexes:
                for key in index.keys(old):
                    self._drop(index.name, key, object_id)
        return old

    def _owned(self, name: str, key: Hashable) -> dict[str, M]:
        """Return the objects of a bucket that may be changed in place, made or copied if need be."""
        buckets = self._buckets[name]
        bucket = buckets.get(key)
        if bucket is None or bucket.owner is not self._token:
            bucket = _Bucket(self._token, bucket.objects.copy() if bucket is not None else {})
            buckets[key] = bucket
        return bucket.objects

    def _drop(self, name: str, key: Hashable, object_id: str) -> None:
        objects = self._owned(name, key)
        objects.pop(object_id, None)
        if not objects:
            del self._buckets[name][key]
