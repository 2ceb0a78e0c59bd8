"""Moves in a manager: callers that join, leave and come back; a journal that fails; a manager that starts again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beeyard.swarm.v1 import move_pb2 as pb
from services.kit import errors, system
from services.kit.tasks import Supervisor
from services.swarmd.api.moves import MoveServicer
from services.swarmd.move.core import automaton
from services.swarmd.move.core.move import Chore, Facts, Move, Stage, Step, Wanted
from services.swarmd.move.journal import MoveJournal
from services.swarmd.move.mover import Mover
from services.swarmd.move.movers import MOVES_MAX, Movers

WAIT_S = 20.0


def a_move(move_id: str, request_id: str = "") -> Move:
    return Move(
        wanted=Wanted(
            move_id=move_id,
            request_id=request_id,
            container_id="c",
            name="web",
            source="s",
            target="t",
            base_digest="b",
            base_image_id="i",
            begun_at=system.SystemClock().now().timestamp(),
        )
    )


class Planner:
    """Plans without looking."""

    async def plan(self, request: pb.MoveContainerRequest, move_id: str) -> tuple[Move, list[str]]:
        await asyncio.sleep(0)
        return a_move(move_id, request.request_id), ["mind the gap"]


class Hands:
    """Does nothing, and stops where it is told."""

    def __init__(self) -> None:
        self.stops_at: Step | None = None
        self.reached = asyncio.Event()
        self.fails: dict[Chore, int] = {}
        self.done: list[Step | Chore] = []

    async def do(self, _move: Move, step: Step, report: Any) -> Facts:
        report("item", 1, 2)
        if step is self.stops_at:
            self.reached.set()
            await asyncio.Event().wait()
        self.done.append(step)
        return {
            Step.HOLD: Facts(running=True, spec=b"x"),
            Step.CREATE: Facts(target_container_id="new"),
        }.get(step, Facts())

    async def settle(self, _move: Move, chore: Chore) -> str:
        if self.fails.get(chore, 0):
            self.fails[chore] -= 1
            raise errors.Unavailable("no answer", reason="NODE_UNREACHABLE")
        self.done.append(chore)
        return ""


async def _ready() -> None:
    return


@contextlib.asynccontextmanager
async def running(directory: Path, hands: Hands) -> AsyncIterator[tuple[Movers, MoveServicer]]:
    async with Movers.run(
        directory / "moves.db",
        planner=Planner(),  # type: ignore[arg-type]
        hands=hands,
        clock=system.SystemClock(),
        rng=system.system_rng(),
        new_id=system.new_base36_id,
        ready=_ready,
    ) as movers:
        yield movers, MoveServicer(movers)


def call(servicer: MoveServicer, **fields: Any) -> Any:
    request = pb.MoveContainerRequest(container="web", target_node="t", **fields)
    return servicer.MoveContainer(request, None)  # type: ignore[arg-type]


async def ended(movers: Movers, stage: Stage) -> Move:
    async with asyncio.timeout(WAIT_S):
        while True:
            for move in movers.all():
                if move.stage is stage:
                    return move
            await asyncio.sleep(0.01)


async def test_a_move_is_told_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async with running(tmp_path, Hands()) as (_, servicer):
        responses = [response async for response in call(servicer)]
    begun, *progress, done = responses
    assert begun.begun.warnings == ["mind the gap"]
    assert done.done.container_id == "new"
    steps = [response.progress.step for response in progress]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (pb.MOVE_STEP_HOLD, pb.MOVE_STEP_CLEAN_UP)


async def test_who_asks_again_joins_the_first_and_hears_its_end(tmp_path: Path) -> None:
    hands = Hands()
    hands.stops_at = Step.STOP
    async with running(tmp_path, hands) as (movers, servicer):
        first, second = call(servicer, request_id="r"), call(servicer, request_id="r")
        ids = [(await anext(calls)).begun.move_id for calls in (first, second)]
        await hands.reached.wait()
        assert len(set(ids)) == 1
        await first.aclose()
        assert next(iter(movers.all())).stage is Stage.MOVING, "the other one is still looking on"
        await second.aclose()
        undone = await ended(movers, Stage.UNDONE)
        assert undone.failure is not None
        with pytest.raises(errors.FailedPrecondition) as late:
            [_ async for _ in call(servicer, request_id="r")]
        assert late.value.reason == "MOVE_ABANDONED"
    async with running(tmp_path, Hands()) as (_, servicer):
        with pytest.raises(errors.FailedPrecondition) as later:
            [_ async for _ in call(servicer, request_id="r")]
        assert later.value.reason == "MOVE_ABANDONED"


async def test_a_detached_caller_may_leave(tmp_path: Path) -> None:
    async with running(tmp_path, Hands()) as (movers, servicer):
        responses = call(servicer, detach=True)
        await anext(responses)
        await responses.aclose()
        await ended(movers, Stage.MOVED)


@pytest.mark.parametrize("step", [Step.HOLD, Step.STOP, Step.SEND_LAYER, Step.START])
async def test_a_manager_that_is_back_takes_back_what_it_was_at(tmp_path: Path, step: Step) -> None:
    hands = Hands()
    hands.stops_at = step
    async with running(tmp_path, hands) as (_, servicer):
        responses = call(servicer, detach=True)
        await anext(responses)
        await hands.reached.wait()
        await responses.aclose()
    again = Hands()
    async with running(tmp_path, again) as (movers, servicer):
        undone = await ended(movers, Stage.UNDONE)
        assert undone.failure == automaton.INTERRUPTED
        (listed,) = (await servicer.ListMoves(pb.ListMovesRequest(), None)).moves  # type: ignore[arg-type]
        assert (listed.state, listed.container) == ("undone", "web")
    assert Chore.REVIVE_SOURCE in again.done
    assert (Chore.REMOVE_TARGET in again.done) is (step is Step.START)


async def test_what_is_owed_does_not_keep_the_caller_and_is_done_later(tmp_path: Path) -> None:
    hands = Hands()
    hands.fails = {Chore.REMOVE_SOURCE: 2}
    async with running(tmp_path, hands) as (movers, servicer):
        *_, last = [response async for response in call(servicer)]
        assert "remove the container from its old node" in last.done.warnings[0]
        moved = await ended(movers, Stage.MOVED)
    assert moved.rounds == 2
    assert hands.done.count(Chore.REMOVE_SOURCE) == 1


class FullJournal:
    """Refuses to write a stage."""

    def __init__(self, refused: Stage) -> None:
        self.refused = refused

    async def save(self, move: Move) -> None:
        if move.stage is self.refused:
            raise errors.Exhausted("the disk is full", reason="DISK_FULL")


@pytest.mark.parametrize("refused", [Stage.MOVING, Stage.CLEANING, Stage.UNDONE])
async def test_what_cannot_be_recorded_does_not_happen(refused: Stage) -> None:
    """Without its record the container does not change hands."""
    hands = Hands()
    mover = Mover(
        a_move("m"),
        automaton.Begun(),
        hands=hands,
        journal=FullJournal(refused),  # type: ignore[arg-type]
        clock=system.SystemClock(),
        rng=random.Random(1),
    )
    if refused is Stage.UNDONE:
        mover.abandon()
    async with Supervisor() as supervisor:
        await mover.run(supervisor)
    assert mover.move.stage is Stage.UNDONE
    assert mover.result is not None
    assert Chore.REMOVE_SOURCE not in hands.done
    if refused is Stage.MOVING:
        assert hands.done == [Chore.REVIVE_SOURCE], "no step was done"


async def test_there_are_only_so_many_at_once(tmp_path: Path) -> None:
    hands = Hands()
    hands.stops_at = Step.HOLD
    async with running(tmp_path, hands) as (movers, servicer):
        calls = [call(servicer, detach=True) for _ in range(MOVES_MAX)]
        for responses in calls:
            await anext(responses)
        with pytest.raises(errors.Exhausted) as refused:
            await anext(call(servicer))
        assert refused.value.reason == "TOO_MANY_MOVES"
        assert len(list(movers.all())) == MOVES_MAX
        for responses in calls:
            await responses.aclose()


async def test_a_record_that_does_not_read_is_left_alone(tmp_path: Path) -> None:
    async with await MoveJournal.open(tmp_path / "moves.db") as journal:
        await journal.save(a_move("good"))
        await journal._database.write(
            lambda connection: connection.execute("INSERT INTO move VALUES ('bad', 0, '{}')").rowcount
        )
        assert [move.wanted.move_id for move in await journal.load()] == ["good"]
