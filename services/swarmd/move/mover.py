"""One move under way: performs what its automaton orders, and lets any number of callers look on."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from services.kit import backoff, errors, log
from services.kit.watch import Broadcast
from services.swarmd.move.core import automaton
from services.swarmd.move.core.move import ENDED, Failure, Stage, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.kit.seams import Clock, Rng
    from services.kit.tasks import Supervisor
    from services.swarmd.move.core.automaton import Effect, Event
    from services.swarmd.move.core.move import Move
    from services.swarmd.move.ports import Hands, Journal

_log = log.get(__name__)

PROGRESS_MAX: Final = 256
"""Steps and bytes that wait for one caller; what is more is left out."""
ROUND_BASE_S: Final = 0.5
ROUND_MAX_S: Final = 30.0
ABANDONED: Final = Failure(message="the caller left", reason="MOVE_ABANDONED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the move is."""

    step: Step | Stage
    """A step, or what follows the last: undoing, cleaning."""
    item: str = ""
    done_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a move ended, as far as its caller is concerned."""

    move: Move
    down_ms: int = 0
    """How long the container did not run."""


Told: TypeAlias = Progress | Result


class Mover:
    """Runs one move.

    Args:
        move: As it is on disk, or new.
        first: The first event: `Begun` or `Recovered`.
    """

    def __init__(
        self, move: Move, first: Event, *, hands: Hands, journal: Journal, clock: Clock, rng: Rng
    ) -> None:
        self.move = move
        self.result: Result | None = None
        """Once the caller can be told."""
        self.told: Broadcast[Told] = Broadcast(PROGRESS_MAX)
        self.latest: Progress | None = None
        self._next = first
        self._hands = hands
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._step: asyncio.Task[Event] | None = None
        self._abandoned = False
        self._detached = False
        self._lookers = 0
        self._stopped_at: float | None = None
        self._down_s = 0.0

    @contextlib.contextmanager
    def looked_on(self, *, detach: bool) -> Iterator[None]:
        """Count a caller for the length of the block. The last to leave takes the move back, unless one detaches."""
        self._detached = self._detached or detach
        self._lookers += 1
        try:
            yield
        finally:
            self._lookers -= 1
            if not self._lookers and not self._detached:
                self.abandon()

    def abandon(self) -> None:
        """Take it back, unless the container has changed hands already."""
        if self.move.stage is Stage.MOVING and not self._abandoned:
            self._abandoned = True
            if self._step is not None:
                self._step.cancel()

    async def run(self, supervisor: Supervisor) -> None:
        """Go on until nothing is left to do."""
        event: Event | None = self._next
        try:
            with log.context(move=self.move.wanted.move_id):
                while event is not None:
                    event = await self._take(event, supervisor)
        finally:
            self.told.close()

    async def _take(self, event: Event, supervisor: Supervisor) -> Event | None:
        """Take one event and perform what follows; return the next event, None at the end."""
        move, effects = automaton.decide(self.move, event)
        failure = await self._save(effects[0].move) if isinstance(effects[0], automaton.Save) else None
        if failure is not None and self.move.stage is Stage.MOVING and move.stage is not Stage.UNDOING:
            return automaton.StepFailed(failure)  # what is not recorded is not done
        before, self.move = self.move, move
        if move.stage is not before.stage or isinstance(event, automaton.Recovered):
            self._log_stage()
        following: Event | None = None
        for effect in effects:
            following = await self._perform(effect, supervisor)
        return following

    async def _perform(self, effect: Effect, supervisor: Supervisor) -> Event | None:
        match effect:
            case automaton.Save():
                return None  # done before everything else
            case automaton.Do(step):
                return await self._do(step, supervisor)
            case automaton.Settle():
                return await self._settle(effect)
            case automaton.Answer():
                self._answer()
                return None
            case automaton.Rest(rounds):
                delay_s = backoff.delay(rounds, base_s=ROUND_BASE_S, max_s=ROUND_MAX_S, rng=self._rng)
                await self._clock.sleep(delay_s)
                return automaton.Rested()
            case _:
                assert_never(effect)

    async def _save(self, move: Move) -> Failure | None:
        """Write a move; return why that is not possible. Chores are done without: they may be done twice."""
        try:
            await self._journal.save(move)
        except errors.BeeyardError as exc:
            _log.error("move_not_saved", reason=exc.reason, error=exc.message)
            return Failure(message=exc.message, reason=exc.reason)
        return None

    async def _do(self, step: Step, supervisor: Supervisor) -> Event:
        """Do a step in a task of its own, so that it can be broken off."""
        if self._abandoned:
            return automaton.StepFailed(ABANDONED)
        self._tell(Progress(step=step))
        if step in (Step.STOP, Step.CHECKPOINT):
            self._stopped_at = self._clock.monotonic()
        self._step = supervisor.spawn(self._outcome(step), f"move step {step.value}", critical=False)
        try:
            await asyncio.wait([self._step])
        finally:
            step_task, self._step = self._step, None
            step_task.cancel()  # where we are cancelled ourselves
        if step_task.cancelled():
            return automaton.StepFailed(ABANDONED)
        if step is Step.START and self._stopped_at is not None:
            self._down_s = self._clock.monotonic() - self._stopped_at
        return step_task.result()

    async def _outcome(self, step: Step) -> Event:
        def report(item: str, done_bytes: int, total_bytes: int) -> None:
            self._tell(Progress(step=step, item=item, done_bytes=done_bytes, total_bytes=total_bytes))

        try:
            return automaton.StepDone(await self._hands.do(self.move, step, report))
        except errors.BeeyardError as exc:
            _log.info("move_step_failed", step=step.value, reason=exc.reason, error=exc.message)
            return automaton.StepFailed(Failure(message=exc.message, reason=exc.reason))
        except Exception as exc:  # noqa: BLE001 (whatever it is, the move must be taken back)
            _log.exception("move_step_broke", step=step.value)
            return automaton.StepFailed(Failure(message=f"internal error: {exc}", reason="INTERNAL"))

    async def _settle(self, effect: automaton.Settle) -> Event:
        if not self.move.rounds:
            self._tell(Progress(step=self.move.stage, item=effect.chore.value))
        try:
            return automaton.ChoreDone(await self._hands.settle(self.move, effect.chore))
        except errors.BeeyardError as exc:
            _log.warning("move_chore_failed", chore=effect.chore.name, reason=exc.reason, error=exc.message)
            return automaton.ChoreFailed(exc.message, hopeless=exc.reason == "NODE_NOT_FOUND")
        except Exception as exc:  # noqa: BLE001 (likewise)
            _log.exception("move_chore_broke", chore=effect.chore.name)
            return automaton.ChoreFailed(f"internal error: {exc}")

    def _answer(self) -> None:
        if self.result is None or self.move.stage in ENDED:
            first = self.result is None
            self.result = Result(move=self.move, down_ms=round(self._down_s * 1000))
            if first:
                self._tell(self.result)

    def _tell(self, told: Told) -> None:
        if isinstance(told, Progress):
            self.latest = told
        self.told.publish(told)

    def _log_stage(self) -> None:
        wanted, failure = self.move.wanted, self.move.failure
        _log.info(
            "move_stage",
            stage=self.move.stage.value,
            container=wanted.container_id[:12],
            source=wanted.source,
            target=wanted.target,
            error=failure.message if failure is not None else "",
        )
