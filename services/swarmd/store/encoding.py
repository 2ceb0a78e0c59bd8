"""Objects and transactions as bytes: raft entries and snapshots. Pure.

The bytes are deterministic: two members with equal stores write equal snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from beeyard.swarm.v1 import store_pb2
from services.swarmd.store.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from services.swarmd.store.tables import M, Object, Table

TABLE_BY_NAME: dict[str, Table[Any]] = {table.name: table for table in TABLES}


class Malformed(Exception):
    """Bytes that are no entry or snapshot of ours. Never leaves the store: entries become `Refused`, snapshots fail."""


def wrap(table: Table[M], obj: M) -> store_pb2.StoreObject:
    """Return an object as the union that holds any kind."""
    wrapped = store_pb2.StoreObject()
    getattr(wrapped, table.name).CopyFrom(obj)
    return wrapped


def unwrap(wrapped: store_pb2.StoreObject) -> tuple[Table[Any], Any]:
    """Return the table and a copy of the object: a part of a message would keep the whole of it in memory.

    Raises:
        Malformed: It holds nothing that this version knows, or an object without an id.
    """
    kind = wrapped.WhichOneof("object")
    if kind is None:
        raise Malformed("an object of an unknown kind")
    table = TABLE_BY_NAME[kind]
    obj = table.message()
    obj.CopyFrom(getattr(wrapped, kind))
    if not obj.id:
        raise Malformed(f"a {kind} without an id")
    return table, obj


def dump(message: Message) -> bytes:
    """Return the deterministic bytes of a message."""
    return message.SerializeToString(deterministic=True)


def parse_transaction(data: bytes) -> store_pb2.StoreTransaction:
    """Read a raft entry.

    Raises:
        Malformed: It is none.
    """
    try:
        return store_pb2.StoreTransaction.FromString(data)
    except DecodeError as exc:
        raise Malformed(f"an entry of {len(data)} bytes: {exc}") from exc


def dump_snapshot(index: int, objects: Iterable[tuple[Table[Any], Object]]) -> bytes:
    """Return a snapshot; the objects come in the order in which they are given."""
    snapshot = store_pb2.StoreSnapshot(index=index)
    for table, obj in objects:
        getattr(snapshot.objects.add(), table.name).CopyFrom(obj)
    return dump(snapshot)


def parse_snapshot(data: bytes) -> tuple[int, list[tuple[Table[Any], Any]]]:
    """Read a snapshot: its index, and its objects in their order.

    Raises:
        Malformed: It is none.
    """
    try:
        snapshot = store_pb2.StoreSnapshot.FromString(data)
    except DecodeError as exc:
        raise Malformed(f"a snapshot of {len(data)} bytes: {exc}") from exc
    return snapshot.index, [unwrap(wrapped) for wrapped in snapshot.objects]
