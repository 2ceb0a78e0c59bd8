"""What people want of a container, and what is to be done about it in each phase."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.containerd.lifecycle import checks
from services.containerd.lifecycle.messages import (
    CancelTimer,
    Checkpoint,
    Effect,
    Freeze,
    Prepare,
    Publish,
    Refusal,
    Reply,
    SendSignal,
    SetTimer,
    StartAsked,
    Timer,
)
from services.containerd.model.events import Action
from services.containerd.model.status import Phase, State, Stop

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.lifecycle.core import Automaton
    from services.containerd.lifecycle.messages import (
        CheckpointAsked,
        CreateAsked,
        HoldAsked,
        KillAsked,
        PauseAsked,
        ReleaseAsked,
        RemoveAsked,
        RestartAsked,
        StopAsked,
        UnpauseAsked,
    )

SIGKILL = "SIGKILL"
KILL_WAIT_S = 10.0
"""How long a killed process may take to be gone before the caller is told that the kernel holds it."""


def create(machine: Automaton, event: CreateAsked) -> list[Effect]:
    """Make it; a repeated request joins the first one."""
    if machine.status.phase is not Phase.PREPARING:
        taken_back = machine.status.phase is Phase.REMOVING and not machine.announced
        return [Reply(ask=event.ask, refusal=Refusal.REMOVING if taken_back else None)]
    first = not machine.waiting.creators
    machine.waiting.creators.append(event.ask)
    return [Prepare()] if first else []


def start(machine: Automaton, event: StartAsked, _now: datetime) -> list[Effect]:
    """Start it; a running container is left alone."""
    status = machine.status
    if status.remove_wanted or status.phase is Phase.REMOVING:
        return [Reply(ask=event.ask, refusal=Refusal.REMOVING)]
    if status.phase is Phase.UP:
        refusal = Refusal.PAUSED if status.state is State.PAUSED else None
        if event.checkpoint:
            refusal = Refusal.RUNNING
        return [Reply(ask=event.ask, refusal=refusal)]
    if status.state is State.DEAD:
        return [Reply(ask=event.ask, refusal=Refusal.DEAD)]
    if status.held_by not in ("", event.holder):
        return [Reply(ask=event.ask, refusal=Refusal.HELD)]
    if event.checkpoint:
        if status.phase is Phase.STARTING or machine.waiting.starters:
            return [Reply(ask=event.ask, refusal=Refusal.RUNNING)]
        machine.restore = (event.ask, event.checkpoint)
    machine.waiting.starters.append(event.ask)
    if status.phase is Phase.IDLE:
        return [CancelTimer(timer=Timer.RESTART), *machine.begin_start()]
    return []  # starting, or as soon as what is under way has ended


def stop(machine: Automaton, event: StopAsked, now: datetime) -> list[Effect]:
    """Send the stop signal and kill after the grace; one that does not run is only kept from being restarted."""
    status = machine.status
    if status.phase is Phase.UP:
        machine.waiting.stoppers.append(event.ask)
        return _stop_running(
            machine, event.signal, event.grace_s, now, stopped_by_user=True, start_wanted=False
        )
    if status.phase is Phase.STARTING:
        machine.waiting.stoppers.append(event.ask)
        machine.abort_start = True
        return [machine.move(stopped_by_user=True)]
    effects: list[Effect] = []
    if status.state is State.RESTARTING or status.start_wanted:
        removes_itself = machine.spec.auto_remove and not status.held_by
        effects += [
            CancelTimer(timer=Timer.RESTART),
            machine.move(
                state=State.EXITED,
                stopped_by_user=True,
                restart_at=None,
                start_wanted=False,
                remove_wanted=status.remove_wanted or removes_itself,
            ),
        ]
        if removes_itself and status.phase is Phase.IDLE:
            effects += machine.begin_remove()
    effects += machine.answer(machine.waiting.starters, Refusal.STOPPED)
    if status.phase is Phase.CLEANING:
        machine.waiting.stoppers.append(event.ask)
        return effects
    return [*effects, Reply(ask=event.ask)]


def restart(machine: Automaton, event: RestartAsked, now: datetime) -> list[Effect]:
    """Stop it, if it runs, and start it. The intent to start is recorded: a crash in between does not lose it."""
    status = machine.status
    if status.phase is not Phase.UP:
        return start(machine, StartAsked(ask=event.ask), now)
    if status.held_by:
        return [Reply(ask=event.ask, refusal=Refusal.HELD)]
    machine.waiting.starters.append(event.ask)
    return _stop_running(machine, event.signal, event.grace_s, now, stopped_by_user=False, start_wanted=True)


def kill(machine: Automaton, event: KillAsked, _now: datetime) -> list[Effect]:
    """Send one signal. A final one counts as a stop by the user: the restart policy leaves the container down."""
    status = machine.status
    if status.phase is Phase.STARTING and event.final:
        machine.waiting.stoppers.append(event.ask)
        machine.abort_start = True
        return [machine.move(stopped_by_user=True)]
    if status.phase is not Phase.UP:
        return [Reply(ask=event.ask, refusal=Refusal.NOT_RUNNING)]
    effects: list[Effect] = []
    if event.final:
        effects.append(machine.move(stopped_by_user=True, start_wanted=False))
        effects += machine.answer(machine.waiting.starters, Refusal.STOPPED)
    effects.append(SendSignal(signal=event.signal))
    if event.final:
        effects += thaw(machine)
    effects.append(Publish(action=Action.KILL, attributes={"signal": event.signal}))
    if event.signal != SIGKILL:
        return [*effects, Reply(ask=event.ask)]
    machine.waiting.stoppers.append(event.ask)
    machine.kill_sent = True
    effects.append(Freeze(frozen=False, answer=False))  # see `kill_now`
    return [*effects, SetTimer(timer=Timer.STOP_GRACE, delay_s=KILL_WAIT_S)]


def remove(machine: Automaton, event: RemoveAsked, _now: datetime) -> list[Effect]:
    """Remove it; what runs only by force."""
    if machine.gone:  # its record is being deleted: the others are answered behind that
        return [Reply(ask=event.ask)]
    status = machine.status
    live = status.phase in (Phase.UP, Phase.STARTING) or status.state is State.RESTARTING
    if live and not event.force:
        refusal = Refusal.PAUSED if status.state is State.PAUSED else Refusal.RUNNING
        return [Reply(ask=event.ask, refusal=refusal)]
    if status.held_by not in ("", event.holder):
        return [Reply(ask=event.ask, refusal=Refusal.HELD)]
    machine.waiting.removers.append(event.ask)
    volumes = status.remove_volumes or event.volumes
    match status.phase:
        case Phase.IDLE:
            cancel: list[Effect] = [CancelTimer(timer=Timer.RESTART), CancelTimer(timer=Timer.RETRY)]
            return [*cancel, *machine.begin_remove(volumes=volumes)]
        case Phase.UP:
            return [
                machine.move(
                    remove_wanted=True, remove_volumes=volumes, stopped_by_user=True, start_wanted=False
                ),
                *machine.answer(machine.waiting.starters, Refusal.REMOVING),
                *kill_now(machine),
                Publish(action=Action.KILL, attributes={"signal": SIGKILL}),
            ]
        case Phase.STARTING:
            machine.abort_start = True
            return [machine.move(remove_wanted=True, remove_volumes=volumes, stopped_by_user=True)]
        case Phase.PREPARING | Phase.CLEANING:
            return [machine.move(remove_wanted=True, remove_volumes=volumes)]
        case _:
            return []  # being removed already


def checkpoint(machine: Automaton, event: CheckpointAsked) -> list[Effect]:
    """Write the state of its processes. Before that ends them, it counts as stopped by the user."""
    status = machine.status
    refusal: Refusal | None = None
    if status.state is State.PAUSED:
        refusal = Refusal.PAUSED
    elif status.phase is not Phase.UP or status.stop is not None or status.remove_wanted:
        refusal = Refusal.NOT_RUNNING
    elif machine.waiting.checkpointers:
        refusal = Refusal.CHECKPOINTING
    if refusal is not None:
        return [Reply(ask=event.ask, refusal=refusal)]
    machine.waiting.checkpointers.append(event.ask)
    machine.checkpoint_ends = not event.leave_running
    return [
        machine.move(checkpointing=True, stopped_by_user=machine.checkpoint_ends),
        *checks.rest(machine, Refusal.CHECKPOINTING),
        Checkpoint(directory=event.directory, leave_running=event.leave_running),
    ]


def hold(machine: Automaton, event: HoldAsked) -> list[Effect]:
    """Keep it for one holder. What is being made or removed, or stands still in the middle of a run, is not held."""
    status = machine.status
    refusal: Refusal | None = None
    if status.held_by not in ("", event.holder):
        refusal = Refusal.HELD
    elif status.remove_wanted or status.phase in (Phase.REMOVING, Phase.PREPARING):
        refusal = Refusal.REMOVING
    elif status.state is State.DEAD:
        refusal = Refusal.DEAD
    elif status.state is State.PAUSED:
        refusal = Refusal.PAUSED
    if refusal is not None or status.held_by:
        return [Reply(ask=event.ask, refusal=refusal)]
    starters: list[Effect] = []
    if status.phase is Phase.CLEANING:
        # They wait for the end of the last run, and would start it behind the holder.
        starters = machine.answer(machine.waiting.starters, Refusal.HELD)
    return [machine.move(held_by=event.holder), *starters, Reply(ask=event.ask)]


def release(machine: Automaton, event: ReleaseAsked, now: datetime) -> list[Effect]:
    """End a hold. A restart that the policy owes is made up for.

    What `--rm` would have done meanwhile is not: it may be started again.
    """
    held_by = machine.status.held_by
    if not held_by:
        return [Reply(ask=event.ask)]
    if held_by != event.holder and not event.force:
        return [Reply(ask=event.ask, refusal=Refusal.HELD)]
    effects: list[Effect] = [machine.move(held_by="")]
    status = machine.status
    if status.phase is Phase.IDLE and status.state is State.RESTARTING:
        due_s = (status.restart_at - now).total_seconds() if status.restart_at is not None else 0.0
        effects.append(SetTimer(timer=Timer.RESTART, delay_s=max(due_s, 0.0)))
    return [*effects, Reply(ask=event.ask)]


def pause(machine: Automaton, event: PauseAsked) -> list[Effect]:
    """Freeze all its processes."""
    if machine.status.state is State.PAUSED:
        return [Reply(ask=event.ask, refusal=Refusal.ALREADY_PAUSED)]
    if machine.status.phase is not Phase.UP:
        return [Reply(ask=event.ask, refusal=Refusal.NOT_RUNNING)]
    if machine.status.checkpointing:
        return [Reply(ask=event.ask, refusal=Refusal.CHECKPOINTING)]
    machine.waiting.freezers.append(event.ask)
    return [
        machine.move(state=State.PAUSED),
        *checks.rest(machine, Refusal.PAUSED),
        Freeze(frozen=True),
    ]


def unpause(machine: Automaton, event: UnpauseAsked) -> list[Effect]:
    """Thaw them."""
    if machine.status.state is not State.PAUSED:
        return [Reply(ask=event.ask, refusal=Refusal.NOT_PAUSED)]
    machine.waiting.freezers.append(event.ask)
    return [machine.move(state=State.RUNNING), Freeze(frozen=False)]


def _stop_running(
    machine: Automaton,
    signal: str,
    grace_s: float,
    now: datetime,
    *,
    stopped_by_user: bool,
    start_wanted: bool,
) -> list[Effect]:
    effects: list[Effect] = []
    if not start_wanted:
        effects += machine.answer(machine.waiting.starters, Refusal.STOPPED)
    first = SIGKILL if grace_s == 0 else signal
    deadline = _sooner(machine, None if grace_s < 0 else now + timedelta(seconds=grace_s))
    effects += [
        machine.move(
            stop=Stop(signal=first, deadline=deadline),
            stopped_by_user=stopped_by_user,
            start_wanted=start_wanted,
        ),
        *send_stop(machine, now),
        Publish(action=Action.KILL, attributes={"signal": first}),
    ]
    return effects


def _sooner(machine: Automaton, deadline: datetime | None) -> datetime | None:
    """Return the deadline that holds when a stop is asked for while another one waits: the sooner, as was promised."""
    under_way = machine.status.stop
    if under_way is None or under_way.deadline is None:
        return deadline
    return under_way.deadline if deadline is None else min(deadline, under_way.deadline)


def send_stop(machine: Automaton, now: datetime) -> list[Effect]:
    """Send the signal of the recorded stop and arm its deadline; also after a restart of the daemon."""
    wanted = machine.status.stop
    assert wanted is not None, "a stop is recorded before it is sent"
    if wanted.signal == SIGKILL:
        return kill_now(machine)
    effects: list[Effect] = [SendSignal(signal=wanted.signal), *thaw(machine)]
    if wanted.deadline is None:
        return [*effects, CancelTimer(timer=Timer.STOP_GRACE)]
    remaining_s = max((wanted.deadline - now).total_seconds(), 0.0)
    return [*effects, SetTimer(timer=Timer.STOP_GRACE, delay_s=remaining_s)]


def kill_now(machine: Automaton) -> list[Effect]:
    """Kill it and notice if the kernel does not let go of it."""
    machine.kill_sent = True
    timer = SetTimer(timer=Timer.STOP_GRACE, delay_s=KILL_WAIT_S)
    # A commit may hold it still without its state saying so.
    still = [] if machine.status.state is State.PAUSED else [Freeze(frozen=False, answer=False)]
    return [SendSignal(signal=SIGKILL), *thaw(machine), *still, timer]


def thaw(machine: Automaton) -> list[Effect]:
    """A frozen process takes no signal, not even SIGKILL."""
    if machine.status.state is not State.PAUSED:
        return []
    return [
        machine.move(state=State.RUNNING),
        Freeze(frozen=False, answer=False),
        *checks.arm(machine, machine.status.started_at),
    ]
