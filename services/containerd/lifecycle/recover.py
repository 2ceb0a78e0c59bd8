"""What to do about a container after the daemon was away. Pure: what was found in, effects out.

Assume that the daemon may have died between any two effects. The phase in the record says what it was about to do; what
is found (exit file, processes, fifo) says how far it came. The answer is the same each time it is asked: a crash during
recovery is recovered from like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.lifecycle import asks, checks, outcomes, restart
from services.containerd.lifecycle.messages import (
    CleanUp,
    Effect,
    Exited,
    Freeze,
    Ignite,
    Remove,
    SetTimer,
    Timer,
    Watch,
)
from services.containerd.model.status import Phase, State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.containerd.lifecycle.core import Automaton
    from services.containerd.lifecycle.messages import Found

INTERRUPTED = "its start was interrupted by a restart of the daemon"
WENT_DOWN = "the machine went down while it ran"


def resume(machine: Automaton, found: Found, now: datetime) -> list[Effect]:
    """Return the first effects after a restart of the daemon."""
    match machine.status.phase:
        case Phase.PREPARING:
            return machine.begin_remove()  # its creation was never acknowledged
        case Phase.IDLE:
            return _resume_idle(machine, found, now)
        case Phase.STARTING:
            return _resume_starting(machine, now)
        case Phase.UP:
            return _resume_up(machine, found, now)
        case Phase.CLEANING:
            return [CleanUp()]
        case Phase.REMOVING:
            return [Remove(volumes=machine.status.remove_volumes)]


def _resume_idle(machine: Automaton, found: Found, now: datetime) -> list[Effect]:
    status = machine.status
    if status.state is State.DEAD:
        return [SetTimer(timer=Timer.RETRY, delay_s=0.0)]
    if found.remains:  # nothing should be: take it down before anything else
        return machine.clean()
    if status.remove_wanted:
        return machine.begin_remove()
    if status.state is State.RESTARTING:
        due_s = (status.restart_at - now).total_seconds() if status.restart_at is not None else 0.0
        return [SetTimer(timer=Timer.RESTART, delay_s=max(due_s, 0.0))]
    at_boot = (
        status.state is State.EXITED
        and not found.same_boot
        and not status.held_by
        and restart.wanted_at_boot(
            machine.spec.restart,
            stopped_by_user=status.stopped_by_user,
            exit_code=status.exit_code,
            restart_count=status.restart_count,
        )
    )
    if at_boot:
        record = machine.move(state=State.RESTARTING, restart_at=now, restart_delay_s=0.0)
        return [record, SetTimer(timer=Timer.RESTART, delay_s=0.0)]
    return []


def _resume_starting(machine: Automaton, now: datetime) -> list[Effect]:
    """Undo it: its caller was told nothing. What the restart policy had started, it starts again unless stopped."""
    status = machine.status
    goes = machine.spec.auto_remove and not status.held_by
    changes: dict[str, object] = {"remove_wanted": True} if goes else {}
    if status.state is State.RESTARTING:
        if not status.stopped_by_user:
            return machine.clean(restart_at=now)
        return machine.clean(state=State.EXITED, restart_at=None, **changes)
    return machine.clean(error=INTERRUPTED, **changes)


def _resume_up(machine: Automaton, found: Found, now: datetime) -> list[Effect]:
    status = machine.status
    assert status.run is not None, "up without a run"
    if found.exit is not None:
        return outcomes.exited(machine, found.exit, now)
    if not found.same_boot:
        return outcomes.exited(machine, Exited(exit_code=outcomes.EXIT_CODE_LOST, error=WENT_DOWN), now)
    if not found.conmon_alive:
        return outcomes.conmon_lost(machine, now)
    effects: list[Effect] = [Watch(run=status.run, start_cut=found.waiting_to_execute)]
    if status.checkpointing:  # whoever wrote it down died with the daemon, and it runs on
        effects.insert(0, machine.move(checkpointing=False, stopped_by_user=status.stop is not None))
    if found.waiting_to_execute:
        effects.append(Ignite(run=status.run))
    if found.frozen is not (status.state is State.PAUSED):
        effects.append(Freeze(frozen=status.state is State.PAUSED, answer=False))
    if status.remove_wanted:
        effects += asks.kill_now(machine)
    elif status.stop is not None:
        effects += asks.send_stop(machine, now)
    return [*effects, *checks.resume(machine, now)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Ids that occur somewhere outside the records."""

    bundles: frozenset[str] = frozenset()
    """Run directories, mounts below them, runtime state, cgroups, exit files."""
    directories: frozenset[str] = frozenset()
    """Directories with logs."""
    sandboxes: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()


def orphans(known: Iterable[str], traces: Traces) -> tuple[str, ...]:
    """Return the ids of which something is left but no record: to be cleaned up and removed, in a stable order.

    A record is the first thing that is written and the last that goes, so there should be none; a restored backup of
    the records, or a disk that lied about a sync, can still make some.
    """
    everything = traces.bundles | traces.directories | traces.sandboxes | traces.snapshots
    return tuple(sorted(everything - frozenset(known)))
