"""The seams through which time, chance and identity reach the code.

Pure cores get `now` and an `Rng` as arguments, shells get a `Clock` and a `NewId`; only composition roots import the
real ones from `services.kit.system`. A seeded `random.Random` is an `Rng`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence, Sequence
    from datetime import datetime

T = TypeVar("T")


class Clock(Protocol):
    """What time it is, and waiting for it to pass."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime:
        """Return the wall-clock time, with the UTC zone set."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Return after at least `seconds`."""
        ...


class Rng(Protocol):
    """Random decisions: jitter, election timeouts, tie breaks. Not for secrets."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """Return a float between `a` and `b`."""
        ...

    def randrange(self, start: int, stop: int | None = None, /) -> int:
        """Return an integer in [0, start), or in [start, stop)."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """Return an element of a non-empty sequence."""
        ...

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Shuffle in place."""
        ...


NewId: TypeAlias = "Callable[[], str]"
"""Makes an identifier that was never used before."""
