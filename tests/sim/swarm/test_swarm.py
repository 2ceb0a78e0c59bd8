"""A number of seeds of the simulated swarm; `python -m tests.sim.swarm --seeds N` runs more."""

import pytest

from tests.sim.swarm.world import World


@pytest.mark.parametrize("seed", range(30))
def test_a_swarm_keeps_its_promises_and_comes_right(seed: int) -> None:
    World(seed).run(steps=150)


def test_a_seed_gives_the_same_run_again() -> None:
    runs = []
    for _ in range(2):
        world = World(7)
        world.run(steps=150)
        runs.append(world.cluster.memory.snapshot())
    assert runs[0] == runs[1]
