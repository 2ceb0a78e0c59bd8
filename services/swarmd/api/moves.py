"""MoveService: containers that go from one node to another."""

# ruff: noqa: N802, ARG002 (the protos name the methods and their arguments)
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.swarm.v1 import move_pb2 as pb
from beeyard.swarm.v1 import move_pb2_grpc
from services.kit import errors
from services.swarmd.move.core.move import Chore, Stage, Step
from services.swarmd.move.mover import ABANDONED, Progress, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.kit.rpc.types import Context
    from services.swarmd.move.core.move import Move
    from services.swarmd.move.movers import Movers

_STEPS: Final = {
    Step.HOLD: pb.MOVE_STEP_HOLD,
    Step.SEND_IMAGE: pb.MOVE_STEP_SEND_IMAGE,
    Step.STOP: pb.MOVE_STEP_STOP,
    Step.CHECKPOINT: pb.MOVE_STEP_CHECKPOINT,
    Step.COMMIT: pb.MOVE_STEP_COMMIT,
    Step.SEND_LAYER: pb.MOVE_STEP_SEND_LAYER,
    Step.SEND_VOLUMES: pb.MOVE_STEP_SEND_VOLUMES,
    Step.CREATE: pb.MOVE_STEP_CREATE,
    Step.SEND_CHECKPOINT: pb.MOVE_STEP_SEND_CHECKPOINT,
    Step.START: pb.MOVE_STEP_START,
    Stage.UNDOING: pb.MOVE_STEP_UNDO,
    Stage.CLEANING: pb.MOVE_STEP_CLEAN_UP,
}


class MoveServicer(move_pb2_grpc.MoveServiceServicer):
    """Begins moves and looks on."""

    def __init__(self, movers: Movers) -> None:
        self._movers = movers

    async def MoveContainer(
        self, request: pb.MoveContainerRequest, context: Context
    ) -> AsyncIterator[pb.MoveContainerResponse]:
        """Move a container; the last caller that leaves takes it back, unless one wanted it to go on."""
        mover, warnings = await self._movers.begin(request)
        wanted = mover.move.wanted
        begun = pb.MoveBegun(
            move_id=wanted.move_id,
            source_node_id=wanted.source,
            target_node_id=wanted.target,
            warnings=warnings,
        )
        with mover.looked_on(detach=request.detach):
            async with mover.told.subscribe() as told:
                yield pb.MoveContainerResponse(begun=begun)
                if mover.result is None and mover.latest is not None:
                    yield _progress(mover.latest)
                while mover.result is None and (item := await anext(told, None)) is not None:
                    if isinstance(item, Progress):
                        yield _progress(item)
            if mover.result is None:
                raise errors.Unavailable(
                    f"this manager is stopping: what becomes of move {wanted.move_id} is decided when it is back",
                    reason="SHUTTING_DOWN",
                )
            yield pb.MoveContainerResponse(done=_done(mover.result))

    async def ListMoves(self, request: pb.ListMovesRequest, context: Context) -> pb.ListMovesResponse:
        """List them."""
        return pb.ListMovesResponse(moves=[_move(move) for move in self._movers.all()])


def _progress(progress: Progress) -> pb.MoveContainerResponse:
    return pb.MoveContainerResponse(
        progress=pb.MoveProgress(
            step=_STEPS.get(progress.step, pb.MOVE_STEP_UNSPECIFIED),
            item=progress.item,
            done_bytes=progress.done_bytes,
            total_bytes=progress.total_bytes,
        )
    )


def _done(result: Result) -> pb.MoveDone:
    """Return how a move has ended.

    Raises:
        errors.BeeyardError: It was taken back.
    """
    move = result.move
    owed = [chore.value for chore in (*move.owed, *move.put_off)]
    if move.stage in {Stage.MOVED, Stage.CLEANING}:
        later = [f"cannot {chore} yet: this is tried again" for chore in owed]
        return pb.MoveDone(
            container_id=move.facts.target_container_id or "",
            node_id=move.wanted.target,
            down_ms=result.down_ms,
            warnings=[*move.notes, *later],
        )
    raise _failure(move, owed)


def _failure(move: Move, owed: list[str]) -> errors.BeeyardError:
    wanted, failure = move.wanted, move.failure
    assert failure is not None, "a move is taken back for a reason"
    state = "it is on its node as it was"
    if Chore.REVIVE_SOURCE in (*move.owed, *move.put_off):
        state = "its node does not answer, and it is started again as soon as that is possible"
    elif move.notes:
        state = "; ".join(move.notes)
    elif owed:
        state = f"{state}; still to do: {'; '.join(owed)}"
    message = f"container {wanted.name} was not moved: {move.step.value}: {failure.message} ({state})"
    metadata = {"step": move.step.value, "cause": failure.reason, "move_id": wanted.move_id}
    if owed:
        metadata["owed"] = "; ".join(owed)
    if failure == ABANDONED:
        return errors.FailedPrecondition(message, reason="MOVE_ABANDONED", metadata=metadata)
    if failure.reason == "CONTAINER_HELD":
        return errors.FailedPrecondition(message, reason="CONTAINER_HELD", metadata=metadata)
    return errors.FailedPrecondition(message, reason="MOVE_FAILED", metadata=metadata)


def _move(move: Move) -> pb.Move:
    begun_at = Timestamp()
    begun_at.FromMilliseconds(round(move.wanted.begun_at * 1000))
    return pb.Move(
        move_id=move.wanted.move_id,
        container=move.wanted.name,
        source_node_id=move.wanted.source,
        target_node_id=move.wanted.target,
        state=move.stage.value,
        step=_STEPS[move.step],
        error=move.failure.message if move.failure is not None else "",
        owed=[chore.value for chore in (*move.owed, *move.put_off)],
        begun_at=begun_at,
    )
