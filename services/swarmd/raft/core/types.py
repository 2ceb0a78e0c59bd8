"""What the log is made of, and what of it survives a crash."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from services.swarmd.raft.core.membership import Config

NOBODY: Final = 0
"""The id that no member has: no leader known, no vote given."""

ENTRY_OVERHEAD_BYTES: Final = 64
"""What an entry is taken to cost besides its data, in every byte limit."""


class Role(Enum):
    """What a member is doing at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    """Asks whether it would be elected, without disturbing anybody's term (9.6)."""
    CANDIDATE = "candidate"
    LEADER = "leader"


class EntryKind(IntEnum):
    """What an entry carries. The numbers are on disk and on the wire."""

    NOOP = 1
    """Nothing: the entry with which a leader opens its term, to commit what earlier terms left (3.6.2)."""
    COMMAND = 2
    """A proposal, for the state machine."""
    CONFIG = 3
    """A configuration of the cluster, in full."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One position of the log."""

    index: int
    term: int
    kind: EntryKind = EntryKind.COMMAND
    data: bytes = b""
    config: Config | None = None

    def __post_init__(self) -> None:
        assert (self.kind is EntryKind.CONFIG) == (self.config is not None), (
            f"config does not fit {self.kind!r}"
        )

    @property
    def size_bytes(self) -> int:
        """What this entry counts for in byte limits."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class HardState:
    """What must be durable before a message that depends on it leaves: the term, and the vote given in it.

    `commit` needs no durability, as it can always be learned again; it is written along so that a member
    which restarts alone shows what it knew.
    """

    term: int = 0
    vote: int = NOBODY
    commit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotMeta:
    """Which prefix of the log a snapshot stands for. Index 0 is the empty prefix."""

    index: int = 0
    term: int = 0
    config: Config = field(default_factory=Config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state machine's contents after `meta.index`."""

    meta: SnapshotMeta
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a restarting member found on its disk: the log after `snapshot`, without gaps, and the hard state."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta = field(default_factory=SnapshotMeta)
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The timing and the limits of the algorithm. Times are in ticks; how long a tick is, the shell decides."""

    heartbeat_ticks: int = 1
    election_ticks_min: int = 8
    """How long a leader is taken to live after its last word: within that time, no other gets a vote."""
    election_ticks_max: int = 16
    """A follower stands for election after a random time between the two, the upper one excluded."""
    message_bytes_max: int = 1 << 20
    """How many bytes of entries one message carries; one entry goes whatever its size."""
    inflight_messages_max: int = 64
    """How many messages with entries may be on the way to one follower."""
    inflight_bytes_max: int = 16 << 20
    uncommitted_bytes_max: int = 64 << 20
    """How many bytes of proposals may wait for their quorum; more are refused."""
    reads_max: int = 4096
    """How many reads may wait for the leader's confirmation; more are refused."""

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ticks < self.election_ticks_min < self.election_ticks_max:
            raise ValueError(
                "0 < heartbeat_ticks < election_ticks_min < election_ticks_max does not hold for "
                f"{self.heartbeat_ticks}, {self.election_ticks_min}, {self.election_ticks_max}"
            )
