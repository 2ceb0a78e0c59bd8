"""Which manager a node asks."""

import random

from services.swarmd.gateway import managers
from services.swarmd.gateway.managers import Penalty
from services.swarmd.gateway.ports import NodePlace

PLACES = [NodePlace(node_id=f"m{i}", address=f"10.0.0.{i}:2377") for i in (1, 2, 3)]


def _choose(
    leader: str = "", penalties: dict[str, Penalty] | None = None, now: float = 0, seed: int = 0
) -> str:
    place = managers.choose(PLACES, leader, penalties or {}, now, random.Random(seed))
    assert place is not None
    return place.node_id


def test_the_leader_comes_first() -> None:
    assert {_choose("10.0.0.2:2377", seed=seed) for seed in range(20)} == {"m2"}


def test_without_a_leader_all_are_asked_in_turn() -> None:
    assert {_choose(seed=seed) for seed in range(50)} == {"m1", "m2", "m3"}


def test_who_failed_is_left_alone_for_a_while() -> None:
    failed = {"10.0.0.2:2377": Penalty(failures=1, until=5.0)}
    assert "m2" not in {_choose("10.0.0.2:2377", failed, now=4.9, seed=seed) for seed in range(50)}
    assert _choose("10.0.0.2:2377", failed, now=5.0) == "m2"


def test_when_all_failed_the_one_whose_time_is_up_next_is_asked() -> None:
    failed = {f"10.0.0.{i}:2377": Penalty(failures=1, until=10.0 - i) for i in (1, 2, 3)}
    assert _choose("10.0.0.1:2377", failed, now=0) == "m3"


def test_nobody_known_is_nobody_chosen() -> None:
    assert managers.choose([], "", {}, 0, random.Random(0)) is None
