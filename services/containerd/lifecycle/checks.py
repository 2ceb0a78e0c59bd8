"""The health check in a container's life: when it runs, what its result does, and what an unhealthy container gets.

Checks run while the container runs: not while it is paused, and none after its end. A result that comes later than that
is dropped. An unhealthy container's restart, stop or kill is recorded together with its health, so that a daemon that
dies between the two does it when it is back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.containerd.health import core as health
from services.containerd.lifecycle import asks
from services.containerd.lifecycle.messages import (
    CancelProbe,
    CancelTimer,
    Effect,
    Probe,
    Publish,
    Refusal,
    Reply,
    SetTimer,
    Timer,
)
from services.containerd.model.events import Action
from services.containerd.model.spec import HealthAction
from services.containerd.model.status import HealthState, Phase, State, Stop
from services.containerd.ocispec import resolve

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.lifecycle.core import Automaton
    from services.containerd.lifecycle.messages import CheckAsked, Probed

_TOLD = {HealthState.HEALTHY: Action.HEALTHY, HealthState.UNHEALTHY: Action.UNHEALTHY}


def begin(machine: Automaton) -> dict[str, object]:
    """Return what the status becomes with a new run."""
    return {"health": health.begun(machine.status.health) if machine.check is not None else None}


def arm(machine: Automaton, now: datetime | None) -> list[Effect]:
    """Plan the next check of a container that has just started, or runs on after a pause or a check.

    Without `now` by the times of the start: good enough for one that is being stopped.
    """
    status, check = machine.status, machine.check
    if check is None or status.health is None or not _runs(machine):
        return []
    started_at = status.started_at
    if started_at is None:
        return []
    delay_s = health.delay_s(check, status.health, started_at=started_at, now=now or started_at)
    return [SetTimer(timer=Timer.HEALTH, delay_s=delay_s)]


def resume(machine: Automaton, now: datetime) -> list[Effect]:
    """Go on after the daemon was away: its absence delays checks, and changes nothing else."""
    check = machine.check
    if check is None or not _runs(machine):
        return []
    effects: list[Effect] = []
    if machine.status.health is None:  # its record was written when there were no checks
        effects.append(machine.move(**begin(machine)))
    known = machine.status.health
    assert known is not None, "a check has a health"
    started_at = machine.status.started_at or now
    delay_s = health.remaining_s(check, known, started_at=started_at, now=now)
    return [*effects, SetTimer(timer=Timer.HEALTH, delay_s=delay_s)]


def rest(machine: Automaton, refusal: Refusal) -> list[Effect]:
    """Check no more: the container is paused, or has ended. Who asked for a check is told why there is no result."""
    if machine.check is None:
        return []
    machine.probing = 0
    return [
        CancelTimer(timer=Timer.HEALTH),
        CancelProbe(),
        *machine.answer(machine.waiting.checkers, refusal),
    ]


def due(machine: Automaton) -> list[Effect]:
    """Run the check, unless it runs."""
    if machine.check is None or machine.probing or not _runs(machine):
        return []
    machine.probes += 1
    machine.probing = machine.probes
    return [Probe(number=machine.probing)]


def asked(machine: Automaton, event: CheckAsked) -> list[Effect]:
    """Run the check now; one that runs already serves as well."""
    if machine.status.state is State.PAUSED:
        return [Reply(ask=event.ask, refusal=Refusal.PAUSED)]
    if machine.status.phase is not Phase.UP:
        return [Reply(ask=event.ask, refusal=Refusal.NOT_RUNNING)]
    if machine.check is None:
        return [Reply(ask=event.ask, refusal=Refusal.NO_HEALTHCHECK)]
    machine.waiting.checkers.append(event.ask)
    return [CancelTimer(timer=Timer.HEALTH), *due(machine)]


def probed(machine: Automaton, event: Probed, now: datetime) -> list[Effect]:
    """Take a result into account, tell a change, and see to an unhealthy container."""
    if machine.probing != event.number:
        return []  # of before a pause or an end
    machine.probing = 0
    status, check = machine.status, machine.check
    if check is None or status.health is None or not _runs(machine):
        return []
    before = status.health
    after = health.judge(check, before, event.result, started_at=status.started_at or now)
    stop = _stop_for(machine, after.state, check.on_failure, now) if after.state is not before.state else None
    changes: dict[str, object] = {"health": after}
    if stop is not None:
        changes |= {"stop": stop, "stopped_by_user": stop.by_health is HealthAction.STOP}
    effects: list[Effect] = [machine.move(**changes)]
    if after.state is not before.state:
        effects.append(Publish(action=_TOLD[after.state]))
    effects += [*machine.answer(machine.waiting.checkers), *arm(machine, now)]
    if stop is not None:
        effects += [
            *asks.send_stop(machine, now),
            Publish(action=Action.KILL, attributes={"signal": stop.signal}),
        ]
    return effects


def _stop_for(machine: Automaton, state: HealthState, action: HealthAction, now: datetime) -> Stop | None:
    """Return the stop that a container gets which has just become unhealthy, None if it is left alone."""
    status = machine.status
    under_way = status.stop is not None or status.remove_wanted
    if state is not HealthState.UNHEALTHY or action is HealthAction.NONE or under_way:
        return None
    grace_s = resolve.stop_grace_s(machine.spec)
    if action is HealthAction.KILL or grace_s == 0:
        return Stop(signal=asks.SIGKILL, deadline=now, by_health=action)
    signal = resolve.stop_signal(machine.spec, machine.image).upper()
    if not (signal.isdecimal() or signal.startswith("SIG")):
        signal = f"SIG{signal}"
    deadline = None if grace_s < 0 else now + timedelta(seconds=grace_s)
    return Stop(signal=signal, deadline=deadline, by_health=action)


def _runs(machine: Automaton) -> bool:
    return machine.status.phase is Phase.UP and machine.status.state is State.RUNNING
