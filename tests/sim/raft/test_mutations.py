"""Every known way to break the algorithm is found, within a number of seeds; see `mutations.py`."""

from __future__ import annotations

import pytest

from tests.sim.raft.mutations import MUTATIONS, mutated
from tests.sim.raft.world import World


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_is_found(name: str) -> None:
    mutation = MUTATIONS[name]
    with mutated(name):
        for seed in range(mutation.seeds_max):
            try:
                World(seed, ground=mutation.ground).run()
            except AssertionError:
                return
    pytest.fail(f"{mutation.seeds_max} seeds did not show that the algorithm {name.replace('_', ' ')}")


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_nothing_is_found_where_nothing_is_broken(name: str) -> None:
    """The same grounds, without the fault: it was not the ground that was found."""
    for seed in range(3):
        World(seed, ground=MUTATIONS[name].ground).run()
