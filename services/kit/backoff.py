"""How long to wait before trying again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kit.seams import Rng

_DOUBLINGS_MAX = 62  # beyond any max_s; keeps the power finite


def delay(attempt: int, *, base_s: float, max_s: float, rng: Rng) -> float:
    """Return the seconds to wait before attempt number `attempt` + 1 (the first failure is attempt 0).

    The ceiling doubles with each attempt up to `max_s`; the delay lies in its upper half, so that callers who failed
    together do not come back together and yet none comes back at once.
    """
    assert attempt >= 0, f"attempt {attempt} is negative"
    assert 0 < base_s <= max_s, f"base {base_s} s and maximum {max_s} s are out of order"
    ceiling = min(max_s, base_s * 2.0 ** min(attempt, _DOUBLINGS_MAX))
    return rng.uniform(ceiling / 2, ceiling)
