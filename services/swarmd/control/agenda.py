"""What is to be looked at, and when. Pure.

Marks say that a look may find something; forgetting one would only delay it to the next full look, and one too many
only costs a look that finds nothing.
"""

from __future__ import annotations

import heapq

LOOK_SPACING_S_PER_TASK = 50e-6
"""A service is not looked at again before this, for each of its tasks, has passed: looks at a service of thousands of
tasks then take a fifth of the leader's time at most, however fast the reports come."""


class Agenda:
    """The subjects that are due, oldest mark first, and those that will be."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._later: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._rested_at: dict[str, float] = {}

    def mark(self, subject: str) -> None:
        """Let a subject be looked at as soon as may be."""
        self._due[subject] = None

    def mark_at(self, subject: str, moment: float) -> None:
        """Let a subject be looked at when a moment has come, or earlier."""
        known = self._later.get(subject)
        if known is None or moment < known:
            self._later[subject] = moment
            heapq.heappush(self._heap, (moment, subject))

    def take(self, now: float) -> str | None:
        """Return the next subject that is due, and strike it; None if there is none."""
        self._collect(now)
        for subject in self._due:
            if self._rested_at.get(subject, 0.0) <= now:
                del self._due[subject]
                self._later.pop(subject, None)
                return subject
        return None

    def rest(self, subject: str, now: float, tasks: int) -> None:
        """Keep a subject with so many tasks, which was just looked at, from being looked at again too soon."""
        if tasks > 0:
            self._rested_at[subject] = now + tasks * LOOK_SPACING_S_PER_TASK
        else:
            self._rested_at.pop(subject, None)

    def next_moment(self, now: float) -> float | None:
        """Return when the next subject is due; `now` if one is, None if there is none."""
        self._collect(now)
        moments = [max(self._rested_at.get(subject, 0.0), now) for subject in self._due]
        while self._heap and self._later.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._heap:
            moments.append(self._heap[0][0])
        return min(moments, default=None)

    def _collect(self, now: float) -> None:
        """Move what has become due."""
        while self._heap and self._heap[0][0] <= now:
            moment, subject = heapq.heappop(self._heap)
            if self._later.get(subject) == moment:
                del self._later[subject]
                self._due[subject] = None
