"""Backoff grows, stays in its bounds, and spreads."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import backoff


@given(attempt=st.integers(0, 10_000), seed=st.integers())
def test_a_delay_lies_in_the_upper_half_of_its_ceiling(attempt: int, seed: int) -> None:
    ceiling = 60.0 if attempt > 9 else min(60.0, 0.1 * 2**attempt)
    delay = backoff.delay(attempt, base_s=0.1, max_s=60.0, rng=random.Random(seed))
    assert ceiling / 2 <= delay <= ceiling


def test_those_who_failed_together_do_not_come_back_together() -> None:
    rng = random.Random(1)
    delays = {backoff.delay(3, base_s=1, max_s=60, rng=rng) for _ in range(100)}
    assert len(delays) == 100


@pytest.mark.parametrize(("attempt", "base_s", "max_s"), [(-1, 1, 2), (0, 0, 2), (0, 3, 2)])
def test_bounds_out_of_order_are_a_fault(attempt: int, base_s: float, max_s: float) -> None:
    with pytest.raises(AssertionError):
        backoff.delay(attempt, base_s=base_s, max_s=max_s, rng=random.Random(1))
