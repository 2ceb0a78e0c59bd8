"""A seed is a world: run again, everything happens again, in another process and with another hash seed as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.raft.world import World

ROOT = Path(__file__).resolve().parents[3]
SEEDS = (3, 17, 41)
PRINT_FINGERPRINT = """
import logging, sys
logging.disable(logging.CRITICAL)
from tests.sim.raft.world import World
for seed in map(int, sys.argv[1:]):
    world = World(seed)
    world.run()
    print(world.fingerprint)
"""


def fingerprint(seed: int) -> str:
    world = World(seed)
    world.run()
    return world.fingerprint


def test_a_seed_gives_the_same_world_again() -> None:
    assert fingerprint(SEEDS[0]) == fingerprint(SEEDS[0])


def test_another_seed_gives_another_world() -> None:
    assert len({fingerprint(seed) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_hash_seed_does_not_matter(hash_seed: str) -> None:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": f"{ROOT / 'protos'}{os.pathsep}{ROOT}",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT_FINGERPRINT, *map(str, SEEDS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [fingerprint(seed) for seed in SEEDS]
