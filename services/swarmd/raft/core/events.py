"""What happens to a member: the only way into the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from services.swarmd.raft.core.membership import Change
    from services.swarmd.raft.core.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One tick of the member's clock has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message arrived."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """Every `Persist` up to this sequence number is durable."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A command that somebody wants in the log. `request_id` comes back in the answer and means nothing here."""

    request_id: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Append these commands: answered by `Accepted` or `Refused`, each."""

    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMembers:
    """Append this change of the configuration: answered by `Accepted` or `Refused`."""

    request_id: int
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadIndex:
    """Find how far the log must be applied for a linearizable read: answered by `ReadReady` or `Refused`.

    An answer may never come when messages to or from the leader are lost: the asker sets a deadline.
    """

    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLeadership:
    """Hand the leadership to this voter: shown by `RoleChanged`, given up after an election timeout."""

    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken:
    """A snapshot of the first `index` entries is durable; entries up to `compact_to` may be forgotten."""

    index: int
    compact_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDelivered:
    """The snapshot sent to this follower arrived there, or did not."""

    to: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """A message to this member could not be delivered."""

    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCommit:
    """Tell the followers how far the log is committed, as nothing else may do so for a while; see `commit_unshared`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Stand for election now, without waiting for the timeout; for a cluster of one, and for tests."""


Event: TypeAlias = (
    Tick
    | Received
    | Persisted
    | Propose
    | ChangeMembers
    | ReadIndex
    | TransferLeadership
    | SnapshotTaken
    | SnapshotDelivered
    | Unreachable
    | ShareCommit
    | Campaign
)
