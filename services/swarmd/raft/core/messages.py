"""What members say to each other. A message may be lost, repeated, delayed and overtaken by another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from services.swarmd.raft.core.types import Entry, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest:
    """A candidate asks for a vote in `term`; with `pre`, whether it would get one (9.6)."""

    sender: int
    to: int
    term: int
    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False
    """The old leader asked for this election: its lease does not stand against it (4.2.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteResponse:
    """The answer. `term` is that of the request if granted, else the voter's own."""

    sender: int
    to: int
    term: int
    granted: bool
    pre: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRequest:
    """The leader's entries after `prev_index`, which the follower must have with `prev_term` (3.5)."""

    sender: int
    to: int
    term: int
    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResponse:
    """How far the follower's log is durable and agrees with the leader's; or that it does not at `index`.

    A refusal carries the position that the follower thinks may agree (`hint_index`, of term `hint_term`).
    """

    sender: int
    to: int
    term: int
    index: int
    rejected: bool = False
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The leader lives. `commit` is no further than what this follower is known to hold."""

    sender: int
    to: int
    term: int
    commit: int
    read_round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse:
    """The sender takes the leader of `term` for the leader, and did so after `read_round` began."""

    sender: int
    to: int
    term: int
    read_round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot:
    """The log up to the snapshot, for a follower whose next entry the leader no longer has. Answered as an append."""

    sender: int
    to: int
    term: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """The leader asks the receiver to stand for election at once (3.10)."""

    sender: int
    to: int
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """A follower asks how far it must have applied the log for a linearizable read (6.4)."""

    sender: int
    to: int
    term: int
    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResponse:
    """The leader's answer to a `ReadRequest`, given after a quorum confirmed that it leads."""

    sender: int
    to: int
    term: int
    request_id: int
    index: int


Message: TypeAlias = (
    VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallSnapshot
    | TimeoutNow
    | ReadRequest
    | ReadResponse
)
