"""One order of time for what several daemons tell, each of them in its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

HOLD_S = 0.1
"""So long what is live waits for something earlier from another daemon: a network's connect before the start."""
HELD_MAX = 10_000


class _Held(NamedTuple):
    at_ns: int
    number: int
    """Of the same moment, the first that came is first."""
    due_s: float
    item: object


class Order(Generic[T]):
    """Takes events as they come and gives them in the order of their times.

    The past is exact: nothing is given before every source has said where its past ends. What is live is given in
    order if it comes no more than `HOLD_S` late. Moments named `now_s` are of one monotonic clock.

    Args:
        behind: The sources that begin with a past.
    """

    def __init__(self, behind: Iterable[str] = ()) -> None:
        self._behind = set(behind)
        self._held: list[_Held] = []
        self._taken = 0

    def add(self, source: str, at_ns: int, item: T, now_s: float) -> None:
        """Take an event that happened at a moment in nanoseconds."""
        due_s = now_s if source in self._behind else now_s + HOLD_S
        self._held.append(_Held(at_ns, self._taken, due_s, item))
        self._taken += 1

    def caught_up(self, source: str) -> None:
        """Take that a source is live, or is no more."""
        self._behind.discard(source)

    def due(self, now_s: float) -> list[T]:
        """Give what need not wait any longer, with all that is earlier."""
        if self._behind and len(self._held) <= HELD_MAX:
            return []
        horizon = max((held.at_ns for held in self._held if held.due_s <= now_s), default=None)
        if horizon is None:
            return []
        return self._give([held for held in self._held if held.at_ns <= horizon])

    def rest(self) -> list[T]:
        """Give everything: nothing more will come."""
        return self._give(list(self._held))

    def wait_s(self, now_s: float) -> float | None:
        """Return after which time something is due; None if nothing is before something comes."""
        if self._behind or not self._held:
            return None
        return max(min(held.due_s for held in self._held) - now_s, 0.0)

    def _give(self, given: list[_Held]) -> list[T]:
        numbers = {held.number for held in given}
        self._held = [held for held in self._held if held.number not in numbers]
        items: list[T] = [held.item for held in sorted(given)]  # type: ignore[misc]  # what `add` took
        return items
