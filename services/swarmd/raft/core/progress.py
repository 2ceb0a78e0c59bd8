"""What a leader knows of each follower, and how much it may send to it.

    probe      --(an append is accepted)-->             replicate
    replicate  --(an append is refused, or unreachable)--> probe
    any        --(the next entry is compacted)-->        snapshot
    snapshot   --(it arrived, failed, or was overtaken)--> probe

* **probe**: where the follower's log agrees is not known. One append at a time; the next one after an
  answer to it, or to a heartbeat.
* **replicate**: appends go out without waiting for answers (`next` runs ahead of `match`) up to the limit
  in flight.
* **snapshot**: nothing goes out until the snapshot's fate is known.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.raft.core.types import Entry


class Pace(Enum):
    """How a leader sends to one follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Inflights:
    """The messages with entries that one follower has not acknowledged: count and bytes are bounded."""

    __slots__ = ("_bytes", "_bytes_max", "_messages", "_messages_max")

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages: deque[tuple[int, int]] = deque()  # (last index, bytes)
        self._bytes = 0
        self._messages_max = messages_max
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent. The message that crosses the byte limit is still let through."""
        return len(self._messages) >= self._messages_max or self._bytes >= self._bytes_max

    def add(self, last_index: int, size_bytes: int) -> None:
        """Note a message whose last entry is at `last_index`."""
        assert not self.full, "a message was sent beyond the limit in flight"
        self._messages.append((last_index, size_bytes))
        self._bytes += size_bytes

    def free_to(self, index: int) -> None:
        """Forget the messages whose entries are acknowledged, up to `index`."""
        while self._messages and self._messages[0][0] <= index:
            self._bytes -= self._messages.popleft()[1]

    def clear(self) -> None:
        """Forget all."""
        self._messages.clear()
        self._bytes = 0


class Progress:
    """One follower, as its leader sees it. `match < next` always, and `match` never falls."""

    __slots__ = (
        "commit_sent",
        "heard",
        "inflights",
        "last_heard_tick",
        "match",
        "next",
        "pace",
        "read_round",
        "snapshot_index",
        "waiting",
    )

    def __init__(self, *, next_index: int, match: int = 0, inflights: Inflights) -> None:
        self.match = match
        """The highest index known to be durable there and to agree with the leader's log."""
        self.next = next_index
        """The index of the entry to send next."""
        self.pace = Pace.PROBE
        self.waiting = False
        """In probe: an append is out, and no answer yet. In replicate: the flight is full."""
        self.commit_sent = 0
        """The commit position that it was told last."""
        self.snapshot_index = 0
        """In snapshot: the index of the one sent."""
        self.heard = True
        """Whether it was heard since the leader last checked its quorum; a new one has not had its chance yet."""
        self.last_heard_tick = 0
        self.read_round = 0
        """The last round of reads in which it confirmed the leader."""
        self.inflights = inflights

    @property
    def paused(self) -> bool:
        """Whether nothing may be sent now."""
        match self.pace:
            case Pace.PROBE | Pace.REPLICATE:
                return self.waiting
            case Pace.SNAPSHOT:
                return True

    def sent(self, entries: Sequence[Entry]) -> None:
        """Note that an append with these entries was sent."""
        if self.pace is Pace.REPLICATE:
            if entries:
                self.next = entries[-1].index + 1
                self.inflights.add(entries[-1].index, sum(entry.size_bytes for entry in entries))
            self.waiting = self.inflights.full
        else:
            assert self.pace is Pace.PROBE, f"an append was sent in {self.pace}"
            self.waiting = True

    def accepted(self, index: int) -> bool:
        """Note that the log agrees up to `index`; tell whether that is news."""
        news = index > self.match
        if news:
            self.match = index
            self.waiting = False
        self.next = max(self.next, index + 1)
        return news

    def refused(self, index: int, hint: int) -> bool:
        """Note that the log does not agree at `index` but perhaps at `hint`; tell whether that is news.

        Answers come late, twice and out of order: one that cannot be about the last append is stale.
        """
        if self.pace is Pace.REPLICATE:
            if index <= self.match:
                return False
            self.next = self.match + 1
            return True
        if self.next - 1 != index:
            return False
        self.next = max(min(index, hint + 1), self.match + 1)
        self.waiting = False
        return True

    def answered_heartbeat(self) -> None:
        """Note an answer to a heartbeat: what was waited for is lost, or will be refused; so send again."""
        self.waiting = False

    def probe(self) -> None:
        """Find out anew where the logs agree."""
        if self.pace is Pace.SNAPSHOT:
            self.next = max(self.match, self.snapshot_index) + 1
        else:
            self.next = self.match + 1
        self._become(Pace.PROBE)

    def probe_from_match(self) -> None:
        """Probe after a snapshot that did not arrive."""
        self.snapshot_index = 0
        self.probe()

    def replicate(self) -> None:
        """Send without waiting, from what is known to agree."""
        self._become(Pace.REPLICATE)
        self.next = self.match + 1

    def send_snapshot(self, index: int) -> None:
        """Wait for the fate of the snapshot of `index`."""
        self._become(Pace.SNAPSHOT)
        self.snapshot_index = index

    def _become(self, pace: Pace) -> None:
        self.pace = pace
        self.waiting = False
        self.snapshot_index = 0
        self.inflights.clear()
