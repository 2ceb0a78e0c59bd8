"""The automaton's promises one by one; `tests/sim/containerd` lets it live through everything at once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.containerd.lifecycle import messages as m
from services.containerd.lifecycle import recover, restart
from services.containerd.lifecycle.core import Automaton
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import ContainerSpec, RestartMode, RestartPolicy
from services.containerd.model.status import (
    LEGAL_PHASES,
    Phase,
    ProcessRef,
    Run,
    State,
    Status,
    Stop,
    check_move,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(init=ProcessRef(pid=2, start_ticks=2), conmon=ProcessRef(pid=1, start_ticks=1), boot_id="b")
IDLE = Status(phase=Phase.IDLE, runtime="crun")
UP = Status(state=State.RUNNING, phase=Phase.UP, runtime="crun", run=RUN, started_at=NOW)


def automaton(status: Status, **spec: Any) -> Automaton:
    return Automaton(ContainerSpec(image="i", **spec), ImageConfig(), status, default_runtime="crun")


def kinds(effects: list[m.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_a_life_records_before_it_acts() -> None:
    machine = automaton(Status(runtime="crun"))
    assert kinds(machine.step(m.CreateAsked(ask=1), NOW)) == ["Prepare"]
    assert kinds(machine.step(m.Prepared(), NOW)) == ["WriteRecord", "Publish", "Reply"]
    assert kinds(machine.step(m.StartAsked(ask=2), NOW)) == ["CancelTimer", "WriteRecord", "BringUp"]
    brought_up = machine.step(m.BroughtUp(run=RUN), NOW)
    assert kinds(brought_up) == ["WriteRecord", "Watch", "Publish", "Ignite"]
    assert machine.step(m.Ignited(run=RUN), NOW) == [m.Reply(ask=2)]
    stop = machine.step(m.StopAsked(ask=3, signal="SIGTERM", grace_s=5), NOW)
    assert kinds(stop) == ["WriteRecord", "SendSignal", "SetTimer", "Publish"]
    killed = machine.step(m.TimerFired(timer=m.Timer.STOP_GRACE), NOW)
    assert m.SendSignal(signal="SIGKILL") in killed
    ended = machine.step(m.Exited(exit_code=137), NOW)
    assert kinds(ended) == ["CancelTimer", "WriteRecord", "Publish", "Publish", "CleanUp"]
    assert kinds(machine.step(m.CleanedUp(), NOW)) == ["WriteRecord", "Reply"]
    removing = machine.step(m.RemoveAsked(ask=4, force=False, volumes=False), NOW)
    assert kinds(removing) == ["CancelTimer", "CancelTimer", "WriteRecord", "Remove"]
    assert kinds(machine.step(m.Removed(), NOW)) == ["DeleteRecord", "Publish", "Reply"]


def test_a_creation_that_is_taken_back_is_not_acknowledged() -> None:
    """A daemon died before it had made the container: who asks again must not be given what goes."""
    machine = automaton(Status(runtime="crun"))
    machine.step(m.Recovered(finding=m.Found()), NOW)
    assert machine.status.phase is Phase.REMOVING
    assert machine.step(m.CreateAsked(ask=1), NOW) == [m.Reply(ask=1, refusal=m.Refusal.REMOVING)]
    told = automaton(replace(IDLE))
    told.step(m.RemoveAsked(ask=2, force=False, volumes=False), NOW)
    assert told.step(m.CreateAsked(ask=3), NOW) == [m.Reply(ask=3)]


def test_an_asked_start_waits_for_the_clean_up() -> None:
    machine = automaton(replace(UP))
    machine.step(m.Exited(exit_code=1), NOW)
    assert machine.step(m.StartAsked(ask=1), NOW) == []
    assert kinds(machine.step(m.CleanedUp(), NOW)) == ["WriteRecord", "BringUp"]
    assert machine.status.restart_count == 0


def test_a_clean_up_that_fails_is_told_and_tried_again() -> None:
    machine = automaton(replace(UP))
    machine.step(m.Exited(exit_code=1), NOW)
    machine.step(m.StartAsked(ask=1), NOW)
    failure = m.Failure(message="netd is down")
    delays = []
    for _ in range(9):
        effects = machine.step(m.CleanedUp(failure=failure), NOW)
        (timer,) = [effect for effect in effects if isinstance(effect, m.SetTimer)]
        delays.append(timer.delay_s)
        machine.step(m.TimerFired(timer=m.Timer.RETRY), NOW)
    assert delays[0] == 0.5
    assert delays == sorted(delays)
    assert delays[-1] == 30.0
    assert machine.waiting.starters == []


@pytest.mark.parametrize("ask", ["stop", "kill"])
def test_a_stop_of_a_start_outlives_the_daemon(ask: str) -> None:
    always = RestartPolicy(mode=RestartMode.ALWAYS)
    starting = Status(state=State.RESTARTING, phase=Phase.STARTING, runtime="crun")
    for stopped in (False, True):
        machine = automaton(starting, restart=always)
        if stopped and ask == "stop":
            machine.step(m.StopAsked(ask=1, signal="SIGTERM", grace_s=1), NOW)
        elif stopped:
            machine.step(m.KillAsked(ask=1, signal="SIGKILL", final=True), NOW)
        after = automaton(machine.status, restart=always)
        assert "CleanUp" in kinds(after.step(m.Recovered(finding=m.Found(remains=True)), NOW))
        assert ("BringUp" in kinds(after.step(m.CleanedUp(), NOW))) is not stopped
    assert (after.status.state, after.status.phase) == (State.EXITED, Phase.IDLE)


def test_a_stop_takes_back_the_start_that_waits() -> None:
    cleaning, preparing = automaton(replace(UP)), automaton(Status(runtime="crun"))
    cleaning.step(m.Exited(exit_code=0), NOW)
    preparing.step(m.CreateAsked(ask=1), NOW)
    for machine in (cleaning, preparing):
        assert machine.step(m.StartAsked(ask=2), NOW) == []
        stopped = machine.step(m.StopAsked(ask=3, signal="SIGTERM", grace_s=1), NOW)
        assert m.Reply(ask=2, refusal=m.Refusal.STOPPED) in stopped
    ended = cleaning.step(m.CleanedUp(), NOW)
    assert m.Reply(ask=3) in ended
    assert "BringUp" not in kinds(ended)
    assert "BringUp" not in kinds(preparing.step(m.Prepared(), NOW))


def test_a_restore_that_was_refused_has_no_part_in_a_later_start() -> None:
    failed, held = automaton(replace(UP)), automaton(replace(UP))
    for machine in (failed, held):
        machine.step(m.Exited(exit_code=0), NOW)
        assert machine.step(m.StartAsked(ask=1, checkpoint="/c"), NOW) == []
    failed.step(m.CleanedUp(failure=m.Failure(message="busy")), NOW)
    failed.step(m.TimerFired(timer=m.Timer.RETRY), NOW)
    held.step(m.HoldAsked(ask=2, holder="h"), NOW)
    for machine in (failed, held):
        machine.step(m.CleanedUp(), NOW)
        assert m.BringUp() in machine.step(m.StartAsked(ask=3, holder="h"), NOW)


def test_a_restore_waits_for_the_clean_up() -> None:
    machine = automaton(replace(UP))
    machine.step(m.Exited(exit_code=0), NOW)
    machine.step(m.StartAsked(ask=1, checkpoint="/c"), NOW)
    machine.step(m.StartAsked(ask=2), NOW)
    assert m.BringUp(checkpoint="/c") in machine.step(m.CleanedUp(), NOW)


@pytest.mark.parametrize(
    ("policy", "code", "count", "expected"),
    [
        (RestartPolicy(), 1, 0, False),
        (RestartPolicy(mode=RestartMode.ON_FAILURE), 0, 0, False),
        (RestartPolicy(mode=RestartMode.ON_FAILURE), 1, 99, True),
        (RestartPolicy(mode=RestartMode.ON_FAILURE, retries_max=2), 1, 1, True),
        (RestartPolicy(mode=RestartMode.ON_FAILURE, retries_max=2), 1, 2, False),
        (RestartPolicy(mode=RestartMode.ALWAYS), 0, 99, True),
        (RestartPolicy(mode=RestartMode.UNLESS_STOPPED), 0, 99, True),
    ],
)
def test_restart_policies(policy: RestartPolicy, code: int, count: int, expected: bool) -> None:
    assert restart.wanted(policy, exit_code=code, restart_count=count) is expected


def test_restart_delays_grow_and_start_over() -> None:
    delays, delay = [], 0.0
    for _ in range(12):
        delay = restart.delay_s(delay, uptime_s=0.0)
        delays.append(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert restart.delay_s(60.0, uptime_s=10.0) == 0.1


def test_at_boot_only_a_stop_by_the_user_of_unless_stopped_is_kept() -> None:
    for mode, stopped, expected in (
        (RestartMode.ALWAYS, True, True),
        (RestartMode.UNLESS_STOPPED, True, False),
        (RestartMode.UNLESS_STOPPED, False, True),
        (RestartMode.NO, False, False),
    ):
        policy = RestartPolicy(mode=mode)
        wanted = restart.wanted_at_boot(policy, stopped_by_user=stopped, exit_code=0, restart_count=0)
        assert wanted is expected


def recorded() -> list[Status]:
    """One status for each legal pair of state and phase, and for intents that may be recorded with it."""
    pairs = [(state, phase) for state, phases in LEGAL_PHASES.items() for phase in sorted(phases)]
    statuses = []
    for (state, phase), intent in itertools.product(pairs, range(4)):
        run = RUN if phase in (Phase.UP, Phase.CLEANING) else None
        status = Status(state=state, phase=phase, runtime="crun", run=run, started_at=NOW)
        if intent == 1:
            status = replace(status, stop=Stop(signal="SIGTERM", deadline=NOW + timedelta(seconds=3)))
        elif intent == 2:
            status = replace(status, remove_wanted=True)
        elif intent == 3:
            status = replace(status, start_wanted=True, restart_at=NOW)
        statuses.append(status)
    return statuses


@pytest.mark.parametrize("policy", list(RestartMode))
def test_recovery_knows_a_way_on_from_everything(policy: RestartMode) -> None:
    """Every recorded status with everything that may be found: a legal move, and something that leads on."""
    findings = [
        m.Found(
            same_boot=boot,
            exit=exit_,
            conmon_alive=alive,
            waiting_to_execute=waits,
            frozen=frozen,
            remains=left,
        )
        for boot, exit_, alive, waits, frozen, left in itertools.product(
            (True, False), (None, m.Exited(exit_code=3)), *([(True, False)] * 4)
        )
    ]
    for status, found in itertools.product(recorded(), findings):
        machine = automaton(status, restart=RestartPolicy(mode=policy))
        effects = recover.resume(machine, found, NOW)
        check_move(status, machine.status)
        assert all(e.start_cut == found.waiting_to_execute for e in effects if isinstance(e, m.Watch))
        first_write = next((n for n, effect in enumerate(effects) if isinstance(effect, m.WriteRecord)), None)
        if first_write is not None:
            acts = (m.Ignite, m.SendSignal, m.CleanUp, m.Remove, m.BringUp)
            before = [effect for effect in effects[:first_write] if isinstance(effect, acts)]
            assert not [effect for effect in before if not isinstance(effect, m.Ignite | m.SendSignal)], (
                effects
            )
        leads_on = (m.CleanUp, m.Remove, m.SetTimer, m.Watch)
        at_rest = status.phase is Phase.IDLE and status.state in (State.CREATED, State.EXITED)
        at_rest = at_rest and not status.remove_wanted
        assert at_rest or any(isinstance(effect, leads_on) for effect in effects), (status, found)


def test_orphans_are_what_no_record_knows() -> None:
    traces = recover.Traces(
        bundles=frozenset("ab"),
        directories=frozenset("c"),
        sandboxes=frozenset("ad"),
        snapshots=frozenset("e"),
    )
    assert recover.orphans(["a", "e"], traces) == ("b", "c", "d")


def test_an_illegal_move_is_a_fault() -> None:
    with pytest.raises(AssertionError, match="illegal move"):
        automaton(IDLE).move(state=State.PAUSED, phase=Phase.UP, run=RUN)
    with pytest.raises(AssertionError, match="without a run"):
        automaton(IDLE).move(state=State.RUNNING, phase=Phase.UP)


def test_only_the_holder_starts_or_removes_what_is_held() -> None:
    machine = automaton(IDLE)
    held = machine.step(m.HoldAsked(ask=1, holder="a"), NOW)
    assert kinds(held) == ["WriteRecord", "Reply"]
    assert machine.step(m.HoldAsked(ask=2, holder="a"), NOW) == [m.Reply(ask=2)]
    for event in (
        m.HoldAsked(ask=3, holder="b"),
        m.StartAsked(ask=3),
        m.RestartAsked(ask=3, signal="SIGTERM", grace_s=1),
        m.RemoveAsked(ask=3, force=True, volumes=False),
        m.ReleaseAsked(ask=3, holder="b", force=False),
    ):
        assert machine.step(event, NOW) == [m.Reply(ask=3, refusal=m.Refusal.HELD)]
    assert "BringUp" in kinds(machine.step(m.StartAsked(ask=4, holder="a"), NOW))
    assert kinds(machine.step(m.ReleaseAsked(ask=5, holder="a", force=False), NOW)) == [
        "WriteRecord",
        "Reply",
    ]


def test_a_restart_by_the_policy_waits_for_the_release() -> None:
    always = RestartPolicy(mode=RestartMode.ALWAYS)
    waits = automaton(replace(IDLE, state=State.RESTARTING, restart_at=NOW, held_by="h"), restart=always)
    ends = automaton(replace(UP, held_by="h"), restart=always)
    ends.step(m.Exited(exit_code=1), NOW)
    later = NOW + timedelta(seconds=60)
    assert kinds(ends.step(m.CleanedUp(), later)) == ["WriteRecord"]
    for machine in (waits, ends):
        assert machine.step(m.TimerFired(timer=m.Timer.RESTART), later) == []
        released = machine.step(m.ReleaseAsked(ask=1, holder="h", force=False), later)
        assert kinds(released) == ["WriteRecord", "SetTimer", "Reply"]
        assert "BringUp" in kinds(machine.step(m.TimerFired(timer=m.Timer.RESTART), later))


def test_a_checkpoint_is_not_frozen_half_way() -> None:
    machine = automaton(replace(UP))
    machine.step(m.CheckpointAsked(ask=1, directory="/c", leave_running=True), NOW)
    assert machine.step(m.PauseAsked(ask=2), NOW) == [m.Reply(ask=2, refusal=m.Refusal.CHECKPOINTING)]
    machine.step(m.Checkpointed(), NOW)
    assert "Freeze" in kinds(machine.step(m.PauseAsked(ask=3), NOW))


@pytest.mark.parametrize("failure", [None, m.Failure(message="no fifo")])
def test_a_start_is_answered_for_its_own_run(failure: m.Failure | None) -> None:
    """What is told of the run before may come at any time until then."""
    late = m.Ignited(run=RUN, failure=failure)
    run = replace(RUN, init=ProcessRef(pid=3, start_ticks=9))
    machine = automaton(replace(UP))
    machine.step(m.Exited(exit_code=0), NOW)
    machine.step(m.StartAsked(ask=1), NOW)
    assert machine.step(late, NOW) == []
    machine.step(m.CleanedUp(), NOW)
    assert machine.step(late, NOW) == []
    machine.step(m.BroughtUp(run=run), NOW)
    assert machine.step(late, NOW) == []
    assert machine.step(m.Ignited(run=run), NOW) == [m.Reply(ask=1)]


def test_a_restart_is_not_answered_by_the_run_that_it_ends() -> None:
    machine = automaton(replace(UP))
    machine.step(m.RestartAsked(ask=1, signal="SIGTERM", grace_s=1), NOW)
    assert machine.step(m.Ignited(run=RUN), NOW) == []
    assert machine.waiting.starters == [1]


def test_what_is_held_outlives_its_end_and_the_machine() -> None:
    machine = automaton(replace(UP, held_by="a"), auto_remove=True)
    machine.step(m.StopAsked(ask=1, signal="SIGTERM", grace_s=5), NOW)
    machine.step(m.Exited(exit_code=0), NOW)
    machine.step(m.CleanedUp(), NOW)
    assert (machine.status.state, machine.status.phase) == (State.EXITED, Phase.IDLE)
    always = RestartPolicy(mode=RestartMode.ALWAYS)
    machine = automaton(replace(IDLE, state=State.EXITED, held_by="a"), restart=always)
    assert machine.step(m.Recovered(finding=m.Found(same_boot=False)), NOW) == []


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (Status(runtime="crun"), m.Refusal.REMOVING),
        (replace(UP, state=State.PAUSED), m.Refusal.PAUSED),
        (replace(UP, remove_wanted=True), m.Refusal.REMOVING),
        (replace(IDLE, state=State.DEAD), m.Refusal.DEAD),
    ],
)
def test_what_cannot_be_carried_away_is_not_held(status: Status, refusal: m.Refusal) -> None:
    assert automaton(status).step(m.HoldAsked(ask=1, holder="a"), NOW) == [m.Reply(ask=1, refusal=refusal)]
