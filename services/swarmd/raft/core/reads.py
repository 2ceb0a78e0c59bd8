"""Linearizable reads without a log entry (6.4).

The leader notes its commit position, proves to itself that it still leads, and lets the read go on once
that position is applied. The proof is a round of heartbeats that began after the position was noted. One
round serves every read noted before it, and only one is under way: reads that arrive meanwhile share the
next one. A lost heartbeat costs nothing but time, as every later heartbeat carries the round along.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read that waits: whose it is (the leader's own id, or a follower's), and from which index it may be served."""

    asker: int
    request_id: int
    index: int


class ReadRounds:
    """The reads of one leadership, and the rounds that confirm them."""

    __slots__ = ("_confirmed", "_next", "_under_way", "round")

    def __init__(self) -> None:
        self.round = 0
        """The number of the last round that began."""
        self._confirmed = 0
        self._under_way: list[Read] = []
        self._next: list[Read] = []

    def __len__(self) -> int:
        return len(self._under_way) + len(self._next)

    def add(self, read: Read) -> None:
        """Note a read for the next round."""
        self._next.append(read)

    def begin(self) -> bool:
        """Begin a round if reads wait for one and none is under way; tell whether heartbeats must go out."""
        if not self._next or self.round > self._confirmed:
            return False
        self.round += 1
        self._under_way, self._next = self._next, []
        return True

    def confirm(self, read_round: int) -> list[Read]:
        """Note that a quorum confirmed the leader in `read_round`; return the reads that this releases."""
        assert read_round <= self.round, f"round {read_round} confirmed, {self.round} begun"
        if read_round <= self._confirmed:
            return []
        self._confirmed = read_round
        released, self._under_way = self._under_way, []
        return released

    def drop(self) -> list[Read]:
        """Return all reads that wait, and forget them."""
        waiting = self._under_way + self._next
        self._under_way, self._next = [], []
        return waiting
