"""The automaton of a move: a move and an event in, the move and effects out.

Rules
  - Before a step is done, the record says that it was begun; so what may have to be taken back is always known.
  - Until the last step is done the container belongs to its old node. The record of that step's end is the one moment
    at which it changes hands: a crash before it leads back, a crash after it leads on.
  - What remains then, either way, are chores: each is tried, those that fail are put off, and tried again in the next
    round, until all are done. The container comes before what it leaves behind, and its old node does not wait for the
    new one: one attempt is made to take it from there first.
  - A chore that concerns a node which is not part of the swarm any more is given up.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TypeAlias

from services.swarmd.move.core.move import ENDED, ORDER, Chore, Facts, Failure, Move, Stage, Step

NO_FACTS = Facts()
INTERRUPTED = Failure(message="the manager that moved it was stopped", reason="INTERRUPTED")


_AFTER = {
    Chore.REMOVE_SOURCE_VOLUMES: Chore.REMOVE_SOURCE,
    Chore.REMOVE_SOURCE_IMAGE: Chore.REMOVE_SOURCE,
    Chore.REMOVE_TARGET_VOLUMES: Chore.REMOVE_TARGET,
    Chore.REMOVE_TARGET_IMAGES: Chore.REMOVE_TARGET,
    Chore.REMOVE_CHECKPOINT: Chore.REVIVE_SOURCE,
}
"""What a container has goes after it."""


# ------------------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Begun:
    """The move is new."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """The step that was under way is done."""

    facts: Facts = NO_FACTS


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The step that was under way was not done, or nobody knows."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class ChoreDone:
    """The first chore that is owed is done."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class ChoreFailed:
    """It is not, or nobody knows."""

    message: str
    hopeless: bool = False
    """Its node has left the swarm."""


@dataclass(frozen=True, slots=True)
class Rested:
    """The pause after a round is over."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The manager is back: first event after its restart."""


Event: TypeAlias = Begun | StepDone | StepFailed | ChoreDone | ChoreFailed | Rested | Recovered


# ----------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Save:
    """Make the move durable as it is; what follows waits for that."""

    move: Move


@dataclass(frozen=True, slots=True)
class Do:
    """Do a step; ends in `StepDone` or `StepFailed`."""

    step: Step


@dataclass(frozen=True, slots=True)
class Settle:
    """Do a chore; ends in `ChoreDone` or `ChoreFailed`."""

    chore: Chore


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the caller how it went; what is still owed goes on behind that."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Pause, longer after each round; ends in `Rested`."""

    rounds: int


Effect: TypeAlias = Save | Do | Settle | Answer | Rest
Decision: TypeAlias = tuple[Move, list[Effect]]


def decide(move: Move, event: Event) -> Decision:
    """Take one event."""
    match event:
        case Begun():
            return _begin(move, Step.HOLD)
        case Recovered():
            return _recover(move)
        case Rested():
            return _next_chore(move)
        case StepDone(facts):
            assert move.stage is Stage.MOVING, f"a step ended while {move.stage.value}"
            move = replace(move, facts=facts.over(move.facts))
            step = next_step(move)
            return _end(move, Stage.CLEANING) if step is None else _begin(move, step)
        case StepFailed(failure):
            assert move.stage is Stage.MOVING, f"a step ended while {move.stage.value}"
            return _end(replace(move, failure=failure), Stage.UNDOING)
        case ChoreDone(note):
            return _after_chore(move, note)
        case ChoreFailed(message, hopeless):
            first = move.owed[0]
            if hopeless:
                return _after_chore(move, f"nobody could {first.value}: {message}")
            return _next_chore(replace(move, owed=move.owed[1:], put_off=(*move.put_off, first)))


def next_step(move: Move) -> Step | None:
    """Return the step after the present one; None if that was the last."""
    for step in ORDER[ORDER.index(move.step) + 1 :]:
        if _applies(move, step):
            return step
    return None


def undo(move: Move) -> tuple[Chore, ...]:
    """Return what takes a move back that came as far as this one."""
    made = {
        Chore.REMOVE_TARGET: move.reached(Step.CREATE),
        Chore.REVIVE_SOURCE: True,
        Chore.REMOVE_TARGET_VOLUMES: bool(move.wanted.new_volumes) and move.reached(Step.SEND_VOLUMES),
        Chore.REMOVE_CHECKPOINT: move.wanted.checkpoint and move.reached(Step.CHECKPOINT),
        Chore.REMOVE_TARGET_IMAGES: move.reached(Step.SEND_IMAGE),
        Chore.REMOVE_SOURCE_IMAGE: move.reached(Step.COMMIT),
    }
    return tuple(chore for chore, is_made in made.items() if is_made)


def clean_up(move: Move) -> tuple[Chore, ...]:
    """Return what is left of a move that succeeded."""
    volumes = (Chore.REMOVE_SOURCE_VOLUMES,) if move.wanted.volumes else ()
    checkpoint = (Chore.REMOVE_CHECKPOINT,) if move.wanted.checkpoint else ()
    images = (Chore.REMOVE_TARGET_IMAGES, Chore.REMOVE_SOURCE_IMAGE)
    return (Chore.REMOVE_SOURCE, *volumes, *checkpoint, *images)


def _applies(move: Move, step: Step) -> bool:
    match step:
        case Step.STOP:
            return move.ran and not move.wanted.checkpoint
        case Step.CHECKPOINT | Step.SEND_CHECKPOINT:
            return move.ran and move.wanted.checkpoint
        case Step.SEND_VOLUMES:
            return bool(move.wanted.volumes)
        case Step.START:
            return move.ran
        case _:
            return True


def _begin(move: Move, step: Step) -> Decision:
    move = replace(move, step=step)
    return move, [Save(move), Do(step)]


def _end(move: Move, stage: Stage) -> Decision:
    """Decide where the container stays."""
    owed = undo(move) if stage is Stage.UNDOING else clean_up(move)
    move = replace(move, stage=stage, owed=owed, put_off=(), rounds=0)
    return move, [Save(move), Settle(owed[0])]


def _recover(move: Move) -> Decision:
    if move.stage is Stage.MOVING:
        return _end(replace(move, failure=INTERRUPTED), Stage.UNDOING)
    if move.stage in ENDED:
        return move, [Answer()]
    move = replace(move, owed=(*move.owed, *move.put_off), put_off=())
    return _next_chore(move)


def _after_chore(move: Move, note: str) -> Decision:
    notes = (*move.notes, note) if note else move.notes
    move, effects = _next_chore(replace(move, owed=move.owed[1:], notes=notes))
    if any(isinstance(effect, Save) for effect in effects):
        return move, effects
    return move, [Save(move), *effects]


def _next_chore(move: Move) -> Decision:
    waiting = [chore for chore in move.owed if _AFTER.get(chore) in move.put_off]
    if waiting:
        owed = tuple(chore for chore in move.owed if chore not in waiting)
        move = replace(move, owed=owed, put_off=(*move.put_off, *waiting))
    if move.owed:
        return move, [Settle(move.owed[0])]
    if not move.put_off:
        move = replace(move, stage=Stage.UNDONE if move.stage is Stage.UNDOING else Stage.MOVED)
        # What it takes to make the container is not needed any more, and may hold secrets.
        move = replace(move, facts=dataclasses.replace(move.facts, spec=None))
        return move, [Save(move), Answer()]
    rounds = move.rounds + 1
    answer: list[Effect] = [Answer()] if rounds == 1 else []
    move = replace(move, owed=move.put_off, put_off=(), rounds=rounds)
    return move, [*answer, Rest(rounds)]
