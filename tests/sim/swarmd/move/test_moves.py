"""A move against nodes that fail, answers that are lost, and a manager that dies between any two effects."""

from __future__ import annotations

import os
import random

import pytest

from services.swarmd.move.core import automaton
from services.swarmd.move.core.move import ENDED, Chore, Facts, Failure, Move, Stage, Step, Wanted
from tests.sim.swarmd.move.world import World, check

SEEDS = int(os.environ.get("SEEDS", "1500"))


def _world(seed: int) -> World:
    rng = random.Random(seed)
    return World(
        rng,
        ran=rng.random() < 0.8,
        volumes=rng.random() < 0.5,
        checkpoint=rng.random() < 0.3,
        failure_rate=rng.choice([0.0, 0.05, 0.3]),
        crash_rate=rng.choice([0.0, 0.02, 0.2]),
        leaves=rng.choice(["", "", "", "source", "target"]),
    )


@pytest.mark.parametrize("chunk", range(4))
def test_survives_everything(chunk: int) -> None:
    ends: dict[Stage, int] = {}
    for seed in range(chunk, SEEDS, 4):
        world = _world(seed)
        try:
            world.run()
            check(world)
        except AssertionError as exc:
            raise AssertionError(f"SEED={seed}: {exc}") from exc
        ends[world.move.stage] = ends.get(world.move.stage, 0) + 1
    assert min(ends.get(Stage.MOVED, 0), ends.get(Stage.UNDONE, 0)) > SEEDS / 4 / 10, "both ends are seen"


def test_replays_alike() -> None:
    traces = []
    for _ in range(2):
        world = _world(11)
        world.run()
        traces.append((world.trace, world.move))
    assert traces[0] == traces[1]


def _moving(step: Step, *, checkpoint: bool = False) -> Move:
    wanted = Wanted(
        move_id="m",
        request_id="",
        container_id="c",
        name="web",
        source="s",
        target="t",
        base_digest="b",
        base_image_id="i",
        volumes=("v",),
        new_volumes=("v",),
        checkpoint=checkpoint,
    )
    return Move(wanted=wanted, step=step, facts=Facts(running=True, spec=b"x"))


@pytest.mark.parametrize("step", list(Step))
def test_a_failure_at_each_step_is_taken_back_and_no_more(step: Step) -> None:
    """What a step may have made is removed, and the container is let go of, whatever failed."""
    failed = automaton.StepFailed(Failure(message="no"))
    undone, effects = automaton.decide(_moving(step), failed)
    assert isinstance(effects[0], automaton.Save)
    assert undone.stage is Stage.UNDOING
    assert Chore.REVIVE_SOURCE in undone.owed
    order = list(Step)
    made = {
        Chore.REMOVE_TARGET: Step.CREATE,
        Chore.REMOVE_TARGET_VOLUMES: Step.SEND_VOLUMES,
        Chore.REMOVE_TARGET_IMAGES: Step.SEND_IMAGE,
        Chore.REMOVE_SOURCE_IMAGE: Step.COMMIT,
    }
    for chore, maker in made.items():
        assert (chore in undone.owed) is (order.index(maker) <= order.index(step)), (step, chore)
    again, _ = automaton.decide(_moving(step), automaton.Recovered())
    assert again.owed == undone.owed, "a death in a step is a failure of it"


def test_the_record_of_the_last_step_is_what_moves_it() -> None:
    moved, effects = automaton.decide(_moving(Step.START), automaton.StepDone())
    assert isinstance(effects[0], automaton.Save)
    assert effects[0].move.stage is Stage.CLEANING
    assert moved.owed[0] is Chore.REMOVE_SOURCE


def test_the_old_node_does_not_wait_for_the_new_one() -> None:
    move, _ = automaton.decide(_moving(Step.START), automaton.StepFailed(Failure(message="no")))
    assert move.owed[:2] == (Chore.REMOVE_TARGET, Chore.REVIVE_SOURCE)
    move, effects = automaton.decide(move, automaton.ChoreFailed("it does not answer"))
    assert effects == [automaton.Settle(Chore.REVIVE_SOURCE)]
    answered = 0
    while move.owed:
        move, effects = automaton.decide(move, automaton.ChoreDone())
        answered += sum(isinstance(effect, automaton.Answer) for effect in effects)
        if any(isinstance(effect, automaton.Rest) for effect in effects):
            break
    assert answered == 1, "the caller does not wait for the rest"
    assert set(move.owed[1:]) == {Chore.REMOVE_TARGET_VOLUMES, Chore.REMOVE_TARGET_IMAGES}
    move, effects = automaton.decide(move, automaton.Rested())
    assert effects == [automaton.Settle(Chore.REMOVE_TARGET)]
    while move.stage not in ENDED:
        move, effects = automaton.decide(move, automaton.ChoreDone())
    assert automaton.Answer() in effects
