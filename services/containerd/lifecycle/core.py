"""The automaton of one container: events in, effects out, nothing else.

Rules
  - `status` changes only through `move`, which checks the tables of `model.status`, and each change is followed by a
    `WriteRecord` of it before any effect that relies on it.
  - Every ask is answered exactly once. Asks that must wait are kept here, in memory: when the daemon dies, the calls
    behind them die with it, and what they wanted survives in the record only.
  - Work that takes time is one effect at a time per container (prepare, bring up, clean up, remove): its outcome comes
    back as an event, and what was asked meanwhile is decided then.
  - No clock: `now` is an argument, and timers are effects.

The handlers are in `asks` (what people want), `outcomes` (what happened) and `checks` (health); `recover` holds the
first step after a restart of the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, assert_never

from services.containerd.health.core import check_of
from services.containerd.lifecycle import asks, checks, messages, outcomes, recover
from services.containerd.lifecycle.messages import (
    BringUp,
    CleanUp,
    Effect,
    Refusal,
    Remove,
    Reply,
    SetTimer,
    Timer,
    WriteRecord,
)
from services.containerd.model.status import Phase, State, Status, check_move

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.lifecycle.messages import Ask, Event, Failure
    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0


@dataclass(slots=True)
class Waiting:
    """The asks that are not answered yet, by what answers them."""

    creators: list[Ask] = field(default_factory=list)
    starters: list[Ask] = field(default_factory=list)
    stoppers: list[Ask] = field(default_factory=list)
    removers: list[Ask] = field(default_factory=list)
    freezers: list[Ask] = field(default_factory=list)
    checkpointers: list[Ask] = field(default_factory=list)
    checkers: list[Ask] = field(default_factory=list)


class Automaton:
    """Decides for one container.

    Args:
        spec: What was asked for the container; replaced by `SpecChanged`.
        image: Its image's configuration.
        status: As recorded.
        default_runtime: Runs it unless the specification names a runtime.
    """

    def __init__(
        self, spec: ContainerSpec, image: ImageConfig, status: Status, *, default_runtime: str
    ) -> None:
        self.spec = spec
        self.image = image
        self.status = status
        self.default_runtime = default_runtime
        self.waiting = Waiting()
        self.announced = status.phase is not Phase.PREPARING
        """Whether its creation was told: what was never created is not destroyed either."""
        self.abort_start = False
        self.kill_sent = False
        self.check = check_of(spec, image)
        self.probes = 0
        self.probing = 0
        """Number of the health check that runs; 0: none does."""
        self.checkpoint_ends = False
        """Whether the checkpoint that is being made ends the processes."""
        self.restore: tuple[Ask, str] | None = None
        """Who waits for a start from a checkpoint, and its directory. It goes with the ask: whoever was refused
        meanwhile has no part in a later start."""
        self.retries = 0
        self.gone = False

    def step(self, event: Event, now: datetime) -> list[Effect]:
        """Take one event; return what is to be done, in order."""
        match event:
            case messages.CreateAsked():
                return asks.create(self, event)
            case messages.StartAsked():
                return asks.start(self, event, now)
            case messages.StopAsked():
                return asks.stop(self, event, now)
            case messages.RestartAsked():
                return asks.restart(self, event, now)
            case messages.KillAsked():
                return asks.kill(self, event, now)
            case messages.PauseAsked():
                return asks.pause(self, event)
            case messages.UnpauseAsked():
                return asks.unpause(self, event)
            case messages.CheckAsked():
                return checks.asked(self, event)
            case messages.RemoveAsked():
                return asks.remove(self, event, now)
            case messages.CheckpointAsked():
                return asks.checkpoint(self, event)
            case messages.HoldAsked():
                return asks.hold(self, event)
            case messages.ReleaseAsked():
                return asks.release(self, event, now)
            case messages.SpecChanged():
                self.spec = event.spec
                return []
            case messages.PortsChanged():
                return outcomes.ports_changed(self, event)
            case messages.TimerFired():
                return outcomes.timer_fired(self, event, now)
            case messages.Recovered():
                return recover.resume(self, event.finding, now)
            case _:
                return self._outcome(event, now)

    def _outcome(
        self,
        event: messages.Prepared
        | messages.BroughtUp
        | messages.BringUpFailed
        | messages.Ignited
        | messages.Exited
        | messages.ConmonLost
        | messages.FreezeDone
        | messages.Checkpointed
        | messages.CleanedUp
        | messages.Removed
        | messages.Probed,
        now: datetime,
    ) -> list[Effect]:
        match event:
            case messages.Prepared():
                return outcomes.prepared(self, event)
            case messages.BroughtUp():
                return outcomes.brought_up(self, event, now)
            case messages.BringUpFailed():
                return outcomes.bring_up_failed(self, event, now)
            case messages.Ignited():
                return outcomes.ignited(self, event, now)
            case messages.Exited():
                return outcomes.exited(self, event, now)
            case messages.ConmonLost():
                return outcomes.conmon_lost(self, now)
            case messages.FreezeDone():
                return outcomes.freeze_done(self, event, now)
            case messages.Checkpointed():
                return outcomes.checkpointed(self, event, now)
            case messages.CleanedUp():
                return outcomes.cleaned_up(self, event, now)
            case messages.Removed():
                return outcomes.removed(self, event)
            case messages.Probed():
                return checks.probed(self, event, now)
            case _:
                assert_never(event)

    # What follows are the moves that several handlers share.

    def move(self, **changes: Any) -> WriteRecord:
        """Change the status and return the effect that makes the change durable."""
        after = replace(self.status, **changes)
        check_move(self.status, after)
        self.status = after
        return WriteRecord(status=after)

    def begin_start(self) -> list[Effect]:
        """Go from idle (or straight from a finished clean-up) to starting."""
        by_policy = self.status.state is State.RESTARTING and not self.status.start_wanted
        self.abort_start = False
        record = self.move(
            phase=Phase.STARTING,
            runtime=self.spec.runtime or self.default_runtime,
            run=None,
            error="",
            stop=None,
            stopped_by_user=False,
            start_wanted=False,
            restart_at=None,
            restart_count=self.status.restart_count + 1 if by_policy else 0,
            restart_delay_s=self.status.restart_delay_s if by_policy else 0.0,
        )
        restore, self.restore = self.restore, None
        waits = restore is not None and restore[0] in self.waiting.starters
        return [record, BringUp(checkpoint=restore[1] if restore is not None and waits else "")]

    def begin_remove(self, *, volumes: bool = False) -> list[Effect]:
        """Go from idle (or straight from a finished clean-up) to removing.

        Anonymous volumes go too if that was asked for, with `--rm`, and where the creation was never acknowledged.
        """
        record = self.move(
            state=State.REMOVING,
            phase=Phase.REMOVING,
            run=None,
            restart_at=None,
            start_wanted=False,
            remove_wanted=True,
            remove_volumes=self.status.remove_volumes
            or volumes
            or self.spec.auto_remove
            or not self.announced,
        )
        return [record, Remove(volumes=self.status.remove_volumes)]

    def retry(self) -> Effect:
        """Return the timer for another try of what failed; the delay grows with each failure in a row."""
        delay_s = min(RETRY_FIRST_S * 2**self.retries, RETRY_MAX_S)
        self.retries = min(self.retries + 1, 16)
        return SetTimer(timer=Timer.RETRY, delay_s=delay_s)

    def clean(self, **changes: Any) -> list[Effect]:
        """Go to cleaning with further changes of the status, and take down what may be held."""
        self.kill_sent = False
        return [self.move(phase=Phase.CLEANING, **changes), CleanUp()]

    def answer(
        self, waiting: list[Ask], refusal: Refusal | None = None, failure: Failure | None = None
    ) -> list[Effect]:
        """Answer all asks of one kind and forget them."""
        replies: list[Effect] = [Reply(ask=ask, refusal=refusal, failure=failure) for ask in waiting]
        waiting.clear()
        return replies
