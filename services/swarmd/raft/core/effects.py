"""What the core wants done. The shell does it; the order is part of the contract, and stands in the types:

* `Persist`s are written in the order of their `sequence`, and reported back as `Persisted` once they are
  durable.
* A `Send` leaves only when the persist number `after` is durable; 0 means at once. Votes and
  acknowledgements name the write that they depend on; a leader's entries do not wait for its own disk, as
  it counts itself only after `Persisted`.
* `Restore` and `Apply` are performed in the order given. They cover only what is committed and durable
  here, so a member that restarts has at least the log that it applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from services.swarmd.raft.core.membership import Config
    from services.swarmd.raft.core.messages import Message
    from services.swarmd.raft.core.types import Entry, HardState, Role, Snapshot, SnapshotMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Write this; `entries` replace whatever was written at or after the index of their first."""

    sequence: int
    hard_state: HardState
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    """Replaces the log up to its index, and the whole log if that does not hold the snapshot's last entry."""
    sync: bool = True
    """Whether anything depends on it. Without, it need not be durable before it is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this message once persist number `after` is durable."""

    message: Message
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSnapshot:
    """Send the newest durable snapshot, `meta`, as an `InstallSnapshot` of this term; report `SnapshotDelivered`."""

    to: int
    term: int
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Apply these entries to the state machine: committed, durable here, each exactly once and in order."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Replace the state machine's contents with this snapshot, which is durable here."""

    snapshot: Snapshot


class Refusal(Enum):
    """Why a request was not taken up. A refused proposal is not in the log and never will be."""

    NO_LEADER = "NO_LEADER"
    NOT_LEADER = "NOT_LEADER"
    TRANSFERRING = "TRANSFERRING"
    """The leader is handing over."""
    TOO_MUCH_UNCOMMITTED = "TOO_MUCH_UNCOMMITTED"
    CHANGE_IN_PROGRESS = "CHANGE_IN_PROGRESS"
    """The previous change of the configuration, or the first entry of the leader's term, is not committed yet."""
    INVALID_CHANGE = "INVALID_CHANGE"
    TOO_MANY_READS = "TOO_MANY_READS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The request is in the log at this index and term. It is committed if an entry of that term is applied there."""

    request_id: int
    index: int
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request was not taken up."""

    request_id: int
    reason: Refusal
    leader: int
    cause: Exception | None = None
    """What is wrong with a change of the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReady:
    """The read may be served from this member once it has applied `index`."""

    request_id: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanged:
    """This member's role, term or idea of the leader is another one."""

    role: Role
    term: int
    leader: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanged:
    """Another configuration is in effect; it may not be committed, and may be taken back."""

    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A committed entry took this member out of the cluster, for good."""


Effect: TypeAlias = (
    Persist
    | Send
    | SendSnapshot
    | Apply
    | Restore
    | Accepted
    | Refused
    | ReadReady
    | RoleChanged
    | ConfigChanged
    | Removed
)
