"""The automaton against a world in which everything may fail and the daemon may die between any two steps.

Each seed picks a specification, a sequence of requests and faults. The checks are in the world (nothing is executed
before it is recorded, nothing is forgotten that is held, no request is answered twice) and at rest (`check_quiet`).
"""

from __future__ import annotations

import os
import random

import pytest

from services.containerd.model.spec import (
    ContainerSpec,
    HealthAction,
    Healthcheck,
    RestartMode,
    RestartPolicy,
)
from tests.sim.containerd.world import World, check_quiet

SEEDS = int(os.environ.get("SEEDS", "1600"))
TURNS = 250
REQUESTS = ["start"] * 4 + ["stop", "stop now", "stop patiently", "restart", "kill", "hup"]
REQUESTS += ["pause", "pause", "unpause", "check", "hold", "release"]
REQUESTS += ["checkpoint", "checkpoint and run on", "restore"]


def _spec(rng: random.Random) -> ContainerSpec:
    mode = rng.choice(list(RestartMode))
    retries = rng.choice([0, 2]) if mode is RestartMode.ON_FAILURE else 0
    auto_remove = mode is RestartMode.NO and rng.random() < 0.3
    policy = RestartPolicy(mode=mode, retries_max=retries)
    return ContainerSpec(restart=policy, auto_remove=auto_remove, health=_health(rng))


def _health(rng: random.Random) -> Healthcheck | None:
    if rng.random() < 0.3:
        return None
    return Healthcheck(
        test=("CMD", "check"),
        interval_s=rng.choice([0.5, 20.0]),
        start_period_s=rng.choice([0.0, 5.0]),
        start_interval_s=0.2,
        retries=rng.choice([1, 2]),
        on_failure=rng.choice(list(HealthAction)),
    )


def _live(world: World, rng: random.Random, removals: float) -> None:
    world.ask("create")
    for _ in range(TURNS):
        if world.gone:
            return
        luck = rng.random()
        if luck < 0.11:
            world.ask(rng.choice(REQUESTS))
        elif luck < 0.11 + removals:
            world.ask(rng.choice(["remove", "force remove"]))
        elif luck < 0.14:
            world.process_ends()
        elif luck < 0.145:
            world.conmon_dies()
        elif luck < 0.15:
            world.sick = not world.sick
        elif luck < 0.20:
            world.time_passes(rng.choice([0.05, 1.0, 20.0]))
        else:
            world.turn()


@pytest.mark.parametrize("chunk", range(8))
def test_survives_everything(chunk: int) -> None:
    for seed in range(chunk, SEEDS, 8):
        rng = random.Random(seed)
        world = World(
            _spec(rng), rng, crash_rate=rng.choice([0.0, 0.01, 0.1]), failure_rate=rng.choice([0.0, 0.1])
        )
        try:
            _live(world, rng, removals=rng.choice([0.0, 0.01]))
            world.settle()
            check_quiet(world)
            if not world.gone:
                world.ask("release")
                world.settle()
                check_quiet(world)
                world.ask("force remove")
                world.settle()
                assert world.gone, world.describe()
                check_quiet(world)
        except AssertionError as exc:
            raise AssertionError(f"SEED={seed}: {exc}") from exc


def test_replays_alike() -> None:
    """One seed, one trace: what makes a failed seed worth its number."""
    traces = []
    for _ in range(2):
        rng = random.Random(7)
        world = World(_spec(rng), rng, crash_rate=0.02, failure_rate=0.1)
        _live(world, rng, removals=0.0)
        traces.append((world.published, world.disk))
    assert traces[0] == traces[1]
