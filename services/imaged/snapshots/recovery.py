"""What to make of the directories and rows that are found at the start. Pure: found things in, a plan out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.snapshots.ports import Kind

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from services.imaged.snapshots.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, in this order."""

    forget: tuple[str, ...]
    """Keys whose rows go: layers whose files are lost or not to be trusted. Who needs them unpacks them again."""
    discard: tuple[str, ...]
    """Directories that no remaining row names: half-made ones, and those of the keys above."""
    lost: tuple[str, ...]
    """Keys of writable snapshots without a directory. They stay, so that their containers can be told why."""


def plan(records: Collection[Record], directories: AbstractSet[str], boot_id: str) -> Plan:
    """Return how to make rows and directories agree.

    A row is written after its directory is complete, so a directory without a row is rubbish. A layer whose files had
    not reached the disk before the machine went down (its row has the id of another boot) may have holes.
    """
    forget: list[str] = []
    lost: list[str] = []
    wanted: set[str] = set()
    for record in records:
        key, kind = record.snapshot.key, record.snapshot.kind
        is_missing = bool(record.directory) and record.directory not in directories
        is_torn = record.boot_id not in {"", boot_id}
        if kind is Kind.COMMITTED and (is_missing or is_torn):
            forget.append(key)
            continue
        if is_missing:
            lost.append(key)
        wanted.add(record.directory)
    return Plan(forget=tuple(forget), discard=tuple(sorted(directories - wanted)), lost=tuple(lost))
