"""The settings of a running member."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.swarmd.raft.core.types import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """How a member runs. The defaults elect a new leader in a second or two and let an idle cluster be idle."""

    tick_ms: int = 100
    settings: Settings = field(default_factory=Settings)
    snapshot_entries: int = 10_000
    """A snapshot is taken when this many entries were applied since the last."""
    snapshot_bytes: int = 64 << 20
    """Or when the log in memory is larger than this."""
    trailing_entries: int = 500
    """How many entries before a snapshot are kept, for followers that are a little behind."""
    entry_bytes_max: int = 1536 << 10
    inbox_max: int = 8192
    """How many messages may wait to be looked at; more are dropped, as a network may."""
    proposals_max: int = 1024
    """How many proposals may be open at once."""
    reads_max: int = 4096
    """How many reads may be open at once."""
    caught_up_entries_max: int = 1000
    """How far behind a learner may be when it gets its vote."""

    def __post_init__(self) -> None:
        if self.tick_ms <= 0 or self.snapshot_entries <= 0 or self.trailing_entries < 0:
            raise ValueError("tick_ms and snapshot_entries must be positive, trailing_entries not negative")
