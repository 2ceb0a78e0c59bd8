"""What readers hear of a committed transaction, and what its proposer hears of it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic

from services.swarmd.store.tables import M, Table


@dataclass(frozen=True, slots=True)
class Change(Generic[M]):
    """One object of one transaction: made (`old` is None), changed, or removed (`new` is None)."""

    table: Table[M]
    id: str
    old: M | None
    new: M | None


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that happened, with the raft index that is now the version of every object in it."""

    index: int
    changes: tuple[Change[Any], ...]

    def of(self, table: Table[M]) -> Iterator[Change[M]]:
        """Iterate over the changes of one table."""
        return (change for change in self.changes if change.table is table)


class Refusal(enum.Enum):
    """Why a transaction did not happen."""

    VERSION = "an object was changed by somebody else"
    EXISTS = "an object with this id exists"
    NAME = "another object has this name"
    MISSING = "the object does not exist"
    MALFORMED = "the entry cannot be read"


@dataclass(frozen=True, slots=True)
class Refused:
    """A transaction that did not happen at all: every member of the swarm found the same reason at the same index."""

    index: int
    refusal: Refusal
    table: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Resync:
    """Stands for changes that are no longer kept: read the state again, then go on.

    Attributes:
        index: The store is at least at this raft index.
    """

    index: int
