"""The real clock, randomness and identifiers."""

import random
import re
from datetime import timedelta

import pytest

from services.kit import system
from services.kit.seams import Clock, Rng


async def test_the_clock_moves() -> None:
    clock: Clock = system.SystemClock()
    before, wall = clock.monotonic(), clock.now()
    await clock.sleep(0.001)
    assert clock.monotonic() > before
    assert wall.utcoffset() == timedelta(0)


def test_hex_ids() -> None:
    made = {system.new_hex_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in made)


def test_the_short_form_of_a_hex_id_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["1" * 64, "23456789012a" + "0" * 52, "12345678901a" + "0" * 52])
    monkeypatch.setattr("secrets.token_hex", lambda _size: next(drawn))
    assert system.new_hex_id() == "23456789012a" + "0" * 52


def test_base36_ids() -> None:
    made = {system.new_base36_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-z]{25}", one) for one in made)


@pytest.mark.parametrize("rng", [system.system_rng(), random.Random(7)])
def test_generators_fit_the_seam(rng: Rng) -> None:
    items = [1, 2, 3]
    rng.shuffle(items)
    assert sorted(items) == [1, 2, 3]
    assert rng.choice(items) in items
    assert 0 <= rng.random() < 1
    assert 1 <= rng.uniform(1, 2) <= 2
    assert rng.randrange(3) in {0, 1, 2}
    assert rng.randrange(5, 7) in {5, 6}
