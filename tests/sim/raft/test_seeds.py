"""Five hundred worlds. Any number more: `python -m tests.sim.raft --seeds N --start S`."""

from __future__ import annotations

import pytest

from tests.sim.raft.run import failure_of
from tests.sim.raft.world import World

SEEDS = 500
IN_ONE_TEST = 10


@pytest.mark.parametrize("first", range(0, SEEDS, IN_ONE_TEST))
def test_nothing_goes_wrong(first: int) -> None:
    failures = [failure_of(World(seed)) for seed in range(first, first + IN_ONE_TEST)]
    assert not any(failures), "\n".join(filter(None, failures))


def test_the_worlds_are_eventful() -> None:
    """A simulation in which nothing happens finds nothing."""
    worlds = [World(seed) for seed in range(30)]
    for world in worlds:
        world.run()
    assert sum(world.checkers.commits for world in worlds) > 1000
    assert sum(world.checkers.elections for world in worlds) > 100
    assert sum(world.checkers.snapshots_installed for world in worlds) > 10
    assert sum(len(world.clients.history) for world in worlds) > 1000
    assert sum(len(world.clients.never) for world in worlds) > 20
