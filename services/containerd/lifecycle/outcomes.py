"""What happened to a container, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from services.containerd.health import core as health
from services.containerd.lifecycle import asks, checks, restart
from services.containerd.lifecycle.messages import (
    CancelTimer,
    CleanUp,
    DeleteRecord,
    Effect,
    Exited,
    Ignite,
    Publish,
    Refusal,
    Remove,
    Reply,
    SetTimer,
    Timer,
    Watch,
)
from services.containerd.model.events import Action
from services.containerd.model.spec import HealthAction
from services.containerd.model.status import Phase, State

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.lifecycle.core import Automaton
    from services.containerd.lifecycle.messages import (
        BringUpFailed,
        BroughtUp,
        Checkpointed,
        CleanedUp,
        FreezeDone,
        Ignited,
        PortsChanged,
        Prepared,
        Removed,
        TimerFired,
    )

EXIT_CODE_LOST = 255
"""Reported when nobody can tell how the process ended."""


def prepared(machine: Automaton, event: Prepared) -> list[Effect]:
    """The writable layer is there: the container exists. Or it is not, and the container never did."""
    if machine.status.phase is not Phase.PREPARING:
        return []
    waiting = machine.waiting
    if event.failure is not None:
        effects = machine.begin_remove()
        return [
            *effects,
            *machine.answer(waiting.creators, Refusal.PREPARE_FAILED, event.failure),
            *machine.answer(waiting.starters, Refusal.REMOVING),
        ]
    machine.announced = True
    created = [Publish(action=Action.CREATE), *machine.answer(waiting.creators)]
    if machine.status.remove_wanted:
        return [machine.move(phase=Phase.IDLE), *created, *machine.begin_remove()]
    effects = [machine.move(phase=Phase.IDLE), *created]
    return [*effects, *machine.begin_start()] if waiting.starters else effects


def brought_up(machine: Automaton, event: BroughtUp, now: datetime) -> list[Effect]:
    """The runtime has created it. The record says running before the program executes."""
    if machine.status.phase is not Phase.STARTING:
        return []
    if machine.abort_start:
        return _aborted(machine)
    record = machine.move(
        state=State.RUNNING,
        phase=Phase.UP,
        run=event.run,
        started_at=now,
        exit_code=0,
        oom_killed=False,
        **checks.begin(machine),
    )
    started: list[Effect] = [Watch(run=event.run), Publish(action=Action.START), Ignite(run=event.run)]
    return [record, *started, *checks.arm(machine, now)]


def bring_up_failed(machine: Automaton, event: BringUpFailed, now: datetime) -> list[Effect]:
    """Take down the parts. A start that the restart policy made counts as a run that failed at once."""
    if machine.status.phase is not Phase.STARTING:
        return []
    if machine.abort_start:
        return _aborted(machine)
    status, failure = machine.status, event.failure
    answers = machine.answer(machine.waiting.starters, Refusal.START_FAILED, failure)
    changes: dict[str, object] = {"error": failure.message, "exit_code": failure.exit_code}
    if machine.spec.auto_remove and not status.held_by:
        changes["remove_wanted"] = True
    if status.state is State.RESTARTING:
        changes |= _after_end(machine, exit_code=failure.exit_code, uptime_s=0.0, now=now)
    clean_up = machine.clean(**changes)
    return [clean_up[0], *answers, *clean_up[1:]]


def _aborted(machine: Automaton) -> list[Effect]:
    status = machine.status
    state = State.EXITED if status.state is State.RESTARTING else status.state
    removes_itself = machine.spec.auto_remove and state is State.EXITED and not status.held_by
    answers = machine.answer(machine.waiting.starters, Refusal.STOPPED)
    clean_up = machine.clean(
        state=state, restart_at=None, remove_wanted=status.remove_wanted or removes_itself
    )
    return [*clean_up, *answers]


def ignited(machine: Automaton, event: Ignited, now: datetime) -> list[Effect]:
    """The program executes: whoever asked for the start is told. Those who wait for the next run are not."""
    status, starters = machine.status, machine.waiting.starters
    if status.phase is not Phase.UP or status.run is None or status.run.init != event.run.init:
        return []
    refusal = Refusal.START_FAILED if event.failure is not None else None
    answers = machine.answer(starters, refusal, event.failure) if not status.start_wanted else []
    if event.failure is None:
        return answers
    lost = Exited(exit_code=EXIT_CODE_LOST, error=event.failure.message)
    return [*answers, *exited(machine, lost, now)]


def exited(machine: Automaton, event: Exited, now: datetime) -> list[Effect]:
    """The process has ended. Its end is recorded and told at once; everything else happens behind that."""
    status = machine.status
    if status.phase is not Phase.UP:
        return []
    started_at = status.started_at or now
    at = max(event.at or now, started_at)  # the time of a file is some milliseconds behind the clock
    uptime_s = (at - started_at).total_seconds()
    starters = machine.answer(machine.waiting.starters) if not status.start_wanted else []
    freezers = machine.answer(machine.waiting.freezers, Refusal.NOT_RUNNING)
    at_rest = checks.rest(machine, Refusal.NOT_RUNNING)
    after = _after_end(machine, exit_code=event.exit_code, uptime_s=uptime_s, now=at)
    by_health = status.stop.by_health if status.stop is not None else HealthAction.NONE
    unhealthy = by_health is not HealthAction.NONE
    clean_up = machine.clean(
        exit_code=event.exit_code,
        oom_killed=event.oom_killed,
        error=event.error or (health.said(status.health) if unhealthy else ""),
        finished_at=at,
        stop=None,
        health=health.ended(status.health),
        checkpointing=False,
        **after,
    )
    told: list[Effect] = [Publish(action=Action.OOM)] if event.oom_killed else []
    told.append(Publish(action=Action.DIE, attributes={"exitCode": str(event.exit_code)}))
    if status.stop is not None and by_health is not HealthAction.KILL:
        told.append(Publish(action=Action.STOP))
    before: list[Effect] = [CancelTimer(timer=Timer.STOP_GRACE), *at_rest]
    return [*before, clean_up[0], *told, *starters, *freezers, *clean_up[1:]]


def _after_end(machine: Automaton, *, exit_code: int, uptime_s: float, now: datetime) -> dict[str, object]:
    """Return what the status becomes after a run: goes, starts again now, starts again later, or stays down."""
    status, spec = machine.status, machine.spec
    if status.remove_wanted:
        return {"state": State.EXITED}
    if status.start_wanted:
        return {"state": State.RESTARTING, "restart_at": now}
    unhealthy = status.stop is not None and status.stop.by_health is HealthAction.RESTART
    restarts = not status.stopped_by_user and restart.wanted(
        spec.restart, exit_code=exit_code, restart_count=status.restart_count, unhealthy=unhealthy
    )
    if spec.auto_remove and not restarts and not status.held_by:
        return {"state": State.EXITED, "remove_wanted": True}
    if restarts:
        delay_s = restart.delay_s(status.restart_delay_s, uptime_s=uptime_s)
        return {
            "state": State.RESTARTING,
            "restart_delay_s": delay_s,
            "restart_at": now + timedelta(seconds=delay_s),
        }
    return {"state": State.EXITED, "restart_at": None}


def conmon_lost(machine: Automaton, now: datetime) -> list[Effect]:
    """Without conmon nobody logs it and nobody learns how it ends: it is killed (by the clean-up) and reported."""
    lost = Exited(exit_code=EXIT_CODE_LOST, error="its monitor (conmon) died: the container was killed")
    return exited(machine, lost, now)


def freeze_done(machine: Automaton, event: FreezeDone, now: datetime) -> list[Effect]:
    """Freezing or thawing has ended; a failure takes the state back."""
    if machine.status.phase is not Phase.UP or not machine.waiting.freezers:
        return []
    paused = machine.status.state is State.PAUSED
    if event.failure is None:
        action = Action.PAUSE if paused else Action.UNPAUSE
        return [
            Publish(action=action),
            *machine.answer(machine.waiting.freezers),
            *checks.arm(machine, now),
        ]
    back = State.RUNNING if paused else State.PAUSED
    answers = machine.answer(machine.waiting.freezers, Refusal.RUNTIME_FAILED, event.failure)
    return [machine.move(state=back), *answers, *checks.arm(machine, now)]


def ports_changed(machine: Automaton, event: PortsChanged) -> list[Effect]:
    """Record the ports of the run that goes on; one that has ended publishes nothing."""
    run = machine.status.run
    if machine.status.phase is not Phase.UP or run is None or run.network is None:
        return [Reply(ask=event.ask)]
    changed = replace(run, network=replace(run.network, ports=event.ports))
    return [machine.move(run=changed), Reply(ask=event.ask)]


def checkpointed(machine: Automaton, event: Checkpointed, now: datetime) -> list[Effect]:
    """The checkpoint is made. Who asked is told when the processes that end with it are taken down; or at once."""
    status, waiting = machine.status, machine.waiting
    if status.phase is not Phase.UP:
        if event.failure is None and status.phase is Phase.CLEANING:
            waiting.stoppers += _take(waiting.checkpointers)
            return [Publish(action=Action.CHECKPOINT)]
        refusal = Refusal.RUNTIME_FAILED if event.failure is not None else None
        return machine.answer(waiting.checkpointers, refusal, event.failure)
    ends = machine.checkpoint_ends
    if event.failure is not None:
        by_user = status.stopped_by_user and (not ends or status.stop is not None)
        record = machine.move(checkpointing=False, stopped_by_user=by_user)
        answers = machine.answer(waiting.checkpointers, Refusal.RUNTIME_FAILED, event.failure)
        return [record, *answers, *checks.arm(machine, now)]
    told = Publish(action=Action.CHECKPOINT)
    if not ends:
        answers = machine.answer(waiting.checkpointers)
        return [machine.move(checkpointing=False), told, *answers, *checks.arm(machine, now)]
    waiting.stoppers += _take(waiting.checkpointers)
    machine.kill_sent = True  # the end of its init was ordered
    return [told, SetTimer(timer=Timer.STOP_GRACE, delay_s=asks.KILL_WAIT_S)]


def cleaned_up(machine: Automaton, event: CleanedUp, now: datetime) -> list[Effect]:
    """Nothing of the run is left: on to what is wanted next. Or something resists: try again later."""
    status, waiting = machine.status, machine.waiting
    if status.phase is not Phase.CLEANING:
        return []
    stopped = machine.answer(waiting.stoppers)  # the process has ended, which is what they wanted
    if event.failure is not None:
        return [
            machine.retry(),
            *stopped,
            *machine.answer(waiting.starters, Refusal.CLEANUP_FAILED, event.failure),
            *machine.answer(waiting.removers, Refusal.CLEANUP_FAILED, event.failure),
        ]
    machine.retries = 0
    if status.remove_wanted:
        removing = machine.begin_remove()
        return [*removing, *stopped, *machine.answer(waiting.starters, Refusal.REMOVING)]
    restarts = status.state is State.RESTARTING and not status.held_by  # else the release sees to it
    due = restarts and (status.restart_at is None or status.restart_at <= now)
    if waiting.starters or due:
        return [*machine.begin_start(), *stopped]
    effects: list[Effect] = [machine.move(phase=Phase.IDLE, run=None), *stopped]
    if restarts and status.restart_at is not None:
        delay_s = (status.restart_at - now).total_seconds()
        effects.append(SetTimer(timer=Timer.RESTART, delay_s=delay_s))
    return effects


def removed(machine: Automaton, event: Removed) -> list[Effect]:
    """Nothing but the record is left, and it goes too. Or something resists: dead, and tried again later."""
    if machine.status.phase is not Phase.REMOVING:
        return []
    if event.failure is not None:
        return [
            machine.move(state=State.DEAD, phase=Phase.IDLE, error=event.failure.message),
            machine.retry(),
            *machine.answer(machine.waiting.removers, Refusal.REMOVE_FAILED, event.failure),
        ]
    machine.gone = True
    told: list[Effect] = [Publish(action=Action.DESTROY)] if machine.announced else []
    return [DeleteRecord(), *told, *machine.answer(machine.waiting.removers)]


def timer_fired(machine: Automaton, event: TimerFired, now: datetime) -> list[Effect]:
    """A wait is over."""
    match event.timer:
        case Timer.STOP_GRACE:
            return _grace_over(machine)
        case Timer.RESTART:
            status = machine.status
            ready = status.phase is Phase.IDLE and status.state is State.RESTARTING and not status.held_by
            return machine.begin_start() if ready else []
        case Timer.RETRY:
            return _retry(machine, now)
        case Timer.HEALTH:
            return checks.due(machine)


def _grace_over(machine: Automaton) -> list[Effect]:
    if machine.status.phase is not Phase.UP:
        return []
    if machine.kill_sent:
        waiting = machine.waiting
        return [
            Reply(ask=ask, refusal=Refusal.UNKILLABLE)
            for group in (waiting.stoppers, waiting.removers)
            for ask in _take(group)
        ]
    return [*asks.kill_now(machine), Publish(action=Action.KILL, attributes={"signal": asks.SIGKILL})]


def _retry(machine: Automaton, _now: datetime) -> list[Effect]:
    status = machine.status
    if status.phase is Phase.CLEANING:
        return [CleanUp()]
    if status.phase is Phase.REMOVING:
        return [Remove(volumes=status.remove_volumes)]
    if status.state is State.DEAD:
        return machine.begin_remove()
    return []


def _take(group: list[int]) -> list[int]:
    taken = list(group)
    group.clear()
    return taken
