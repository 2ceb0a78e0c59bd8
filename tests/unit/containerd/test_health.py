"""What a health check's results mean: the rules one by one, and against a slow model that knows all results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.health import core
from services.containerd.lifecycle import messages as m
from services.containerd.lifecycle import restart
from services.containerd.lifecycle.core import Automaton
from services.containerd.model import check as model_check
from services.containerd.model.events import Action
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import (
    ContainerSpec,
    HealthAction,
    Healthcheck,
    RestartMode,
    RestartPolicy,
)
from services.containerd.model.status import (
    Health,
    HealthState,
    Phase,
    ProbeResult,
    ProcessRef,
    Run,
    State,
    Status,
)
from services.kit import errors

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHECK = core.Check(argv=("c",), interval_s=30, start_period_s=60, start_interval_s=2, retries=3)
RUN = Run(init=ProcessRef(pid=2, start_ticks=2), conmon=ProcessRef(pid=1, start_ticks=1), boot_id="b")
UP = Status(state=State.RUNNING, phase=Phase.UP, runtime="crun", run=RUN, started_at=NOW, health=Health())


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def result(code: int, seconds: float = 0.0, output: str = "") -> ProbeResult:
    return ProbeResult(started_at=at(seconds), ended_at=at(seconds), exit_code=code, output=output)


@pytest.mark.parametrize(
    ("own", "image", "shell", "expected"),
    [
        (None, None, (), None),
        (Healthcheck(test=("NONE",)), Healthcheck(test=("CMD", "a")), (), None),
        (None, Healthcheck(test=("NONE",)), (), None),
        (None, Healthcheck(test=("CMD", "a"), interval_s=1), (), core.Check(argv=("a",), interval_s=1)),
        (Healthcheck(test=("CMD-SHELL", "a b")), None, (), core.Check(argv=("/bin/sh", "-c", "a b"))),
        (Healthcheck(test=("CMD-SHELL", "a")), None, ("ash", "-ec"), core.Check(argv=("ash", "-ec", "a"))),
        (
            Healthcheck(retries=9, timeout_s=2, on_failure=HealthAction.KILL),
            Healthcheck(test=("CMD", "a", "b"), interval_s=1, timeout_s=7, retries=4),
            (),
            core.Check(argv=("a", "b"), interval_s=1, timeout_s=2, retries=9, on_failure=HealthAction.KILL),
        ),
        (None, Healthcheck(test=("HTTP", "a")), (), None),
        (None, Healthcheck(test=("CMD",)), (), None),
        (Healthcheck(interval_s=1), None, (), None),
    ],
)
def test_the_check_in_force(
    own: Healthcheck | None, image: Healthcheck | None, shell: tuple[str, ...], expected: core.Check | None
) -> None:
    found = core.check_of(ContainerSpec(image="i", health=own), ImageConfig(health=image, shell=shell))
    assert found == expected


def test_docker_defaults() -> None:
    check = core.check_of(ContainerSpec(health=Healthcheck(test=("CMD", "a"))), ImageConfig())
    assert check == core.Check(
        argv=("a",), interval_s=30, timeout_s=30, start_period_s=0, start_interval_s=5, retries=3
    )


@pytest.mark.parametrize(
    ("state", "age_s", "expected"),
    [
        (HealthState.STARTING, 0, 2),
        (HealthState.STARTING, 59, 2),
        (HealthState.STARTING, 60, 30),
        (HealthState.HEALTHY, 10, 30),
        (HealthState.UNHEALTHY, 10, 30),
    ],
)
def test_when_the_next_one_begins(state: HealthState, age_s: float, expected: float) -> None:
    assert core.delay_s(CHECK, Health(state=state), started_at=NOW, now=at(age_s)) == expected


@pytest.mark.parametrize(
    ("last_s", "now_s", "expected"), [(None, 1, 1), (None, 100, 0), (70, 75, 25), (70, 200, 0), (-5, 1, 1)]
)
def test_when_it_goes_on_after_an_absence(last_s: float | None, now_s: float, expected: float) -> None:
    health = Health(log=(result(1, last_s),) if last_s is not None else ())
    assert core.remaining_s(CHECK, health, started_at=NOW, now=at(now_s)) == expected


def test_failures_of_the_start_period_do_not_count_until_the_first_success() -> None:
    health = Health()
    for second in (1, 2, 3, 4):
        health = core.judge(CHECK, health, result(1, second), started_at=NOW)
    assert (health.state, health.failing_streak) == (HealthState.STARTING, 0)
    health = core.judge(CHECK, health, result(0, 5), started_at=NOW)
    assert health.state is HealthState.HEALTHY
    for second in (6, 7, 8):
        assert health.state is HealthState.HEALTHY
        health = core.judge(CHECK, health, result(1, second), started_at=NOW)
    assert (health.state, health.failing_streak) == (HealthState.UNHEALTHY, 3)


@given(st.lists(st.tuples(st.sampled_from([0, 1, -1]), st.floats(0, 50)), max_size=30), st.integers(1, 4))
def test_agrees_with_a_model_that_looks_at_everything(steps: list[tuple[int, float]], retries: int) -> None:
    check = core.Check(argv=("c",), start_period_s=60, retries=retries)
    health, results, second = Health(), [], 0.0
    for code, pause_s in steps:
        second += pause_s
        results.append(result(code, second))
        health = core.judge(check, health, results[-1], started_at=NOW)
        passed = [index for index, item in enumerate(results) if item.exit_code == 0]
        since = results[passed[-1] + 1 :] if passed else [r for r in results if r.started_at >= at(60)]
        expected = HealthState.HEALTHY if passed else HealthState.STARTING
        if len(since) >= retries:
            expected = HealthState.UNHEALTHY
        assert (health.state, health.failing_streak) == (expected, len(since))
        assert health.log == tuple(results[-core.LOG_MAX :])


@given(st.binary(max_size=6000))
def test_an_output_is_bounded_and_readable(output: bytes) -> None:
    text = core.cut(output)
    assert len(text.encode()) <= core.OUTPUT_BYTES_MAX
    if len(output) <= core.OUTPUT_BYTES_MAX // 3:
        assert text == output.decode(errors="replace")


def test_the_cut_is_marked() -> None:
    assert core.cut(b"a" * 5000) == "a" * 4093 + "..."
    assert core.cut(b"a" * 4096) == "a" * 4096


@pytest.mark.parametrize(
    ("mode", "retries", "count", "expected"),
    [
        (RestartMode.NO, 0, 9, True),
        (RestartMode.ALWAYS, 0, 9, True),
        (RestartMode.ON_FAILURE, 0, 9, True),
        (RestartMode.ON_FAILURE, 3, 2, True),
        (RestartMode.ON_FAILURE, 3, 3, False),
    ],
)
def test_what_bounds_the_restarts_of_unhealthy_ones(
    mode: RestartMode, retries: int, count: int, expected: bool
) -> None:
    policy = RestartPolicy(mode=mode, retries_max=retries)
    assert restart.wanted(policy, exit_code=0, restart_count=count, unhealthy=True) is expected


@pytest.mark.parametrize(
    "test",
    [("HTTP", "x"), ("CMD",), ("CMD-SHELL",), ("CMD-SHELL", ""), ("CMD", "a\0b"), ("CMD", "x" * 70_000)],
)
def test_refused_checks(test: tuple[str, ...]) -> None:
    with pytest.raises(errors.Invalid, match="health check"):
        model_check.check(ContainerSpec(image="i", health=Healthcheck(test=test)))


def automaton(action: HealthAction, **spec: Any) -> Automaton:
    health = Healthcheck(test=("CMD", "c"), retries=1, on_failure=action)
    return Automaton(
        ContainerSpec(image="i", health=health, **spec), ImageConfig(), UP, default_runtime="crun"
    )


def fail(machine: Automaton) -> list[m.Effect]:
    """Let the check fail once."""
    (probe,) = machine.step(m.TimerFired(timer=m.Timer.HEALTH), NOW)
    assert isinstance(probe, m.Probe)
    return machine.step(m.Probed(number=probe.number, result=result(1, output="no  answer\n")), NOW)


def test_without_an_action_it_is_told_and_checked_on() -> None:
    effects = fail(automaton(HealthAction.NONE))
    assert [type(effect) for effect in effects] == [m.WriteRecord, m.Publish, m.SetTimer]
    assert m.Publish(action=Action.UNHEALTHY) in effects


@pytest.mark.parametrize(
    ("action", "signal", "stays_down"),
    [
        (HealthAction.KILL, "SIGKILL", False),
        (HealthAction.STOP, "SIGTERM", True),
        (HealthAction.RESTART, "SIGTERM", False),
    ],
)
def test_the_action_is_recorded_with_the_health(action: HealthAction, signal: str, stays_down: bool) -> None:
    machine = automaton(action)
    effects = fail(machine)
    (record,) = [effect for effect in effects if isinstance(effect, m.WriteRecord)]
    assert record.status.health is not None
    assert record.status.health.state is HealthState.UNHEALTHY
    assert record.status.stop is not None
    assert record.status.stop.by_health is action
    assert record.status.stopped_by_user is stays_down
    assert effects.index(record) < effects.index(m.SendSignal(signal=signal))
    assert fail(machine)[1:] != effects[1:], "it is done once"


def test_the_end_says_why() -> None:
    machine = automaton(HealthAction.RESTART)
    fail(machine)
    effects = machine.step(m.Exited(exit_code=0), at(1))
    assert machine.status.error == "unhealthy container: no answer"
    assert (machine.status.state, machine.status.restart_delay_s) == (State.RESTARTING, 0.1)
    assert m.CancelProbe() in effects


def test_a_user_who_stops_it_meanwhile_has_the_last_word() -> None:
    machine = automaton(HealthAction.RESTART)
    fail(machine)
    machine.step(m.StopAsked(ask=1, signal="SIGTERM", grace_s=5), NOW)
    machine.step(m.Exited(exit_code=0), at(1))
    assert machine.status.state is State.EXITED


def test_a_stop_under_way_is_left_to_its_grace() -> None:
    machine = automaton(HealthAction.KILL)
    machine.step(m.StopAsked(ask=1, signal="SIGTERM", grace_s=60), NOW)
    assert m.SendSignal(signal="SIGKILL") not in fail(machine)


def test_a_result_of_before_a_pause_is_dropped() -> None:
    machine = automaton(HealthAction.KILL)
    (probe,) = machine.step(m.TimerFired(timer=m.Timer.HEALTH), NOW)
    assert isinstance(probe, m.Probe)
    paused = machine.step(m.PauseAsked(ask=1), NOW)
    assert paused.index(m.CancelProbe()) < paused.index(m.Freeze(frozen=True))
    assert machine.step(m.Probed(number=probe.number, result=result(1)), NOW) == []
    machine.step(m.FreezeDone(), NOW)
    machine.step(m.UnpauseAsked(ask=2), NOW)
    assert m.SetTimer(timer=m.Timer.HEALTH, delay_s=30) in machine.step(m.FreezeDone(), NOW)
    assert machine.step(m.Probed(number=probe.number, result=result(1)), NOW) == []


@pytest.mark.parametrize(
    "spec",
    [
        ContainerSpec(image="a", health=Healthcheck(test=("CMD", "true"), interval_s=1e15)),
        ContainerSpec(image="a", health=Healthcheck(test=("CMD", "true"), start_period_s=1e15)),
        ContainerSpec(image="a", stop_grace_s=3e11),
        ContainerSpec(image="a", stop_grace_s=-3e11),
    ],
)
def test_what_takes_centuries_is_refused(spec: ContainerSpec) -> None:
    with pytest.raises(errors.Invalid, match="292 years") as refused:
        model_check.check(spec)
    assert refused.value.reason == "DURATION_TOO_LONG"


def test_an_image_whose_check_takes_centuries_harms_nobody() -> None:
    # It says so in its configuration, which nobody refuses.
    endless = Healthcheck(test=("CMD", "true"), interval_s=1e15, start_period_s=1e15, timeout_s=1e15)
    check = core.check_of(ContainerSpec(image="a"), ImageConfig(health=endless))
    assert check is not None
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    health = core.begun(None)
    healthy = Health(state=HealthState.HEALTHY)
    assert core.remaining_s(check, healthy, started_at=begun, now=begun) > 1e9
    result = ProbeResult(started_at=begun, ended_at=begun, exit_code=1, output="")
    assert core.judge(check, health, result, started_at=begun).failing_streak == 0
