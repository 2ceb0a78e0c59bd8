"""Which nodes are there: sessions, heartbeats and the deadlines that a node misses when it is gone. Pure.

A node that misses three heartbeats in a row is down. When a leader begins it has heard of nobody: every node that was
ready counts as unknown, and has twice that time to come. Heartbeats are spread below the period, never above it, so
that three of them always fit before the deadline.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.kit.seams import Rng

PERIOD_DEFAULT_S = 2.0
MISSED_MAX = 3
TAKEOVER_FACTOR = 2
JITTER = 0.2
"""A heartbeat is due between this share before the period, and the period."""
CHECK_EVERY_MAX_S = 0.2
STALL_S = 1.0
"""When deadlines were not looked at for so long, or for a period if that is longer, it was us who were not there."""
REGISTRATIONS_MAX = 3
REGISTRATIONS_WINDOW_S = 8.0


@dataclass(slots=True, kw_only=True)
class _Node:
    deadline: float
    session_id: str = ""
    expired: bool = False


class Sessions:
    """All nodes that are or should be there. Times are seconds of one monotonic clock."""

    def __init__(self, *, rng: Rng, period_s: float = PERIOD_DEFAULT_S) -> None:
        self.period_s = period_s
        self._rng = rng
        self._nodes: dict[str, _Node] = {}
        self._registrations: dict[str, collections.deque[float]] = {}
        self._checked: float | None = None

    def take_over(self, node_ids: Iterable[str], now: float) -> None:
        """Expect nodes that were ready under the leader before."""
        deadline = now + MISSED_MAX * TAKEOVER_FACTOR * self.period_s
        for node_id in node_ids:
            self._nodes.setdefault(node_id, _Node(deadline=deadline))

    def open(self, node_id: str, session_id: str, now: float) -> None:
        """Begin a session; an older one of the node ends by that.

        Raises:
            errors.Exhausted: The node opens sessions too fast (SESSIONS_TOO_FAST).
        """
        recent = self._registrations.setdefault(node_id, collections.deque(maxlen=REGISTRATIONS_MAX))
        if len(recent) == REGISTRATIONS_MAX and now - recent[0] < REGISTRATIONS_WINDOW_S:
            raise errors.Exhausted(
                f"node {node_id} has opened {REGISTRATIONS_MAX} sessions within {REGISTRATIONS_WINDOW_S:g} s",
                reason="SESSIONS_TOO_FAST",
            )
        recent.append(now)
        self._nodes[node_id] = _Node(deadline=self._deadline(now), session_id=session_id)

    def is_current(self, node_id: str, session_id: str) -> bool:
        """Say whether this is the node's session, and the node is not down."""
        return self.is_up(node_id) and self._nodes[node_id].session_id == session_id

    def is_up(self, node_id: str) -> bool:
        """Say whether the node has a session and has not missed its deadline."""
        node = self._nodes.get(node_id)
        return node is not None and not node.expired and bool(node.session_id)

    def require(self, node_id: str, session_id: str) -> None:
        """Return if the session is current.

        Raises:
            errors.FailedPrecondition: SESSION_UNKNOWN: the node must open a new one.
        """
        if not self.is_current(node_id, session_id):
            raise errors.FailedPrecondition(
                f"session {session_id or '(none)'} of node {node_id} is not known, or has been replaced",
                reason="SESSION_UNKNOWN",
            )

    def beat(self, node_id: str, session_id: str, now: float) -> float:
        """Take a heartbeat; return the seconds until the next one is due. Raises as `require`."""
        self.require(node_id, session_id)
        self._nodes[node_id].deadline = self._deadline(now)
        return self.next_beat_s()

    def next_beat_s(self) -> float:
        """Return the seconds until a node's next heartbeat is due."""
        return self.period_s * self._rng.uniform(1 - JITTER, 1)

    @property
    def check_every_s(self) -> float:
        """How often deadlines are to be looked at."""
        return min(CHECK_EVERY_MAX_S, self.period_s / 4)

    def expire(self, now: float) -> list[str]:
        """Return the nodes whose deadline has passed, each once. To be called every `check_every_s`.

        If it was not called for long, this process was stopped or its machine asleep: then the deadlines move, or all
        nodes would be down at once.
        """
        if self._checked is not None and now - self._checked > max(self.period_s, STALL_S):
            for node in self._nodes.values():
                node.deadline += now - self._checked
        self._checked = now
        expired = [
            node_id for node_id, node in self._nodes.items() if not node.expired and node.deadline <= now
        ]
        for node_id in expired:
            self._nodes[node_id].expired = True
        return sorted(expired)

    def forget(self, node_id: str) -> None:
        """Drop a node that the swarm does not know any longer."""
        self._nodes.pop(node_id, None)
        self._registrations.pop(node_id, None)

    def _deadline(self, now: float) -> float:
        return now + MISSED_MAX * self.period_s
