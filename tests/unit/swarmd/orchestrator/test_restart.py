"""Restarts: conditions, delay, attempts, windows, backoff, history."""

import pytest

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_PREPARING
from services.swarmd.orchestrator.core import policy
from services.swarmd.orchestrator.core.restart import restart_delay
from services.swarmd.store.timestamps import seconds
from tests.unit.swarmd.orchestrator.stage import (
    COMPLETE,
    FAILED,
    NONE,
    ON_FAILURE,
    READY,
    REJECTED,
    RUNNING,
    SHUTDOWN,
    Stage,
)


@pytest.mark.parametrize(
    ("condition", "ended", "restarts"),
    [
        (0, COMPLETE, True),
        (0, FAILED, True),
        (ON_FAILURE, COMPLETE, False),
        (ON_FAILURE, FAILED, True),
        (ON_FAILURE, REJECTED, True),
        (NONE, COMPLETE, False),
        (NONE, FAILED, False),
        (NONE, REJECTED, False),
    ],
)
def test_the_condition_decides(condition: int, ended: int, restarts: bool) -> None:
    stage = Stage(replicas=1, task__restart__condition=condition)
    stage.run()
    stage.report(stage.newest(1), ended)
    stage.run(10.0)
    assert len(stage.running()) == (1 if restarts else 0)
    assert len(stage.tasks) == (2 if restarts else 1), "a slot that is done counts as one of the replicas"


def test_the_next_task_is_prepared_during_the_delay() -> None:
    stage = Stage(replicas=1, task__restart__delay_ms=7000)
    stage.run()
    stage.report(stage.newest(1), FAILED)
    stage.look()
    stage.obey()
    waiting = stage.newest(1)
    assert (waiting.desired_state, waiting.status.state) == (READY, READY)
    assert seconds(waiting.start_after) == pytest.approx(stage.now + 7.0)
    stage.now += 6.9
    assert not stage.look()
    stage.now += 0.2
    stage.look()
    assert stage.newest(1).desired_state == RUNNING


def test_a_task_that_cannot_be_prepared_is_followed_once_each_delay() -> None:
    stage = Stage(replicas=1)
    stage.look()
    stage.assign(stage.newest(1))
    stage.report(stage.newest(1), TASK_STATE_PREPARING)
    stage.report(stage.newest(1), REJECTED, "no such image")
    for _ in range(4):
        stage.look()
        task = stage.newest(1)
        stage.assign(task)
        stage.report(task, REJECTED, "no such image")  # at once, in its own delay
        begins = stage.now
        plan = stage.look()
        assert stage.newest(1).id == task.id, "nothing follows before the delay is over"
        assert plan.wakeup == pytest.approx(begins + 5.0)
        stage.now = plan.wakeup
    assert len(stage.made) == 5


def test_a_slot_gives_up_after_its_attempts() -> None:
    stage = Stage(replicas=1, task__restart__max_attempts=2, task__restart__delay_ms=1000)
    stage.run()
    for _ in range(3):
        stage.report(stage.newest(1), FAILED)
        stage.run(1.0)
    assert len(stage.made) == 3
    assert not stage.active()


def test_attempts_before_the_window_do_not_count() -> None:
    stage = Stage(
        replicas=1,
        task__restart__max_attempts=2,
        task__restart__delay_ms=0,
        task__restart__window_ms=60_000,
    )
    stage.run()
    for _ in range(6):
        stage.now += 40.0
        stage.report(stage.newest(1), FAILED)
        stage.run()
    assert len(stage.running()) == 1, "never more than one restart in a minute"
    assert len(stage.newest(1).restarted_at) <= 2, "what is counted is bounded"
    for _ in range(2):
        stage.now += 1.0
        stage.report(stage.newest(1), FAILED)
        stage.run()
        if not stage.active():
            break
    assert not stage.active()


def test_an_update_begins_the_count_anew() -> None:
    stage = Stage(replicas=1, task__restart__max_attempts=1, task__restart__delay_ms=0)
    stage.run()
    stage.report(stage.newest(1), FAILED)
    stage.run()
    stage.update(task__container__image="web:2")
    stage.run(10.0)
    assert stage.newest(1).restarts_before == 0
    stage.report(stage.newest(1), FAILED)
    stage.run()
    assert len(stage.running()) == 1


def test_the_delay_doubles_with_each_failure_in_a_row() -> None:
    stage = Stage(replicas=1, task__restart__delay_ms=1000, task__restart__backoff_max_ms=10_000)
    stage.run()
    delays = []
    for _ in range(6):
        stage.report(stage.newest(1), FAILED)
        died = stage.now
        stage.look()
        delays.append(seconds(stage.newest(1).start_after) - died)
        stage.run(20.0)
        stage.now = seconds(stage.newest(1).status.running_since) + 1.0
    assert delays == pytest.approx([1, 2, 4, 8, 10, 10], abs=1e-3)


def test_the_backoff_begins_anew_after_a_task_that_ran_long_enough() -> None:
    stage = Stage(replicas=1, task__restart__delay_ms=1000, task__restart__backoff_max_ms=10_000)
    stage.run()
    for _ in range(3):
        stage.report(stage.newest(1), FAILED)
        stage.run(10.0)
        stage.now = seconds(stage.newest(1).status.running_since) + 1.0
    assert stage.newest(1).failures_before == 3
    stage.now += 60.0
    stage.report(stage.newest(1), FAILED)
    stage.look()
    assert stage.newest(1).failures_before == 0
    assert seconds(stage.newest(1).start_after) == pytest.approx(stage.now + 1.0)


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, 5.0), (1, 5.0), (2, 10.0), (3, 20.0), (9, 30.0), (4000, 30.0)]
)
def test_backoff_is_bounded(failures: int, expected: float) -> None:
    stage = Stage(task__restart__backoff_max_ms=30_000)
    restart = policy.restart_policy(stage.service.spec.task, job=False)
    assert restart_delay(restart, failures) == expected


def test_without_backoff_the_delay_is_always_the_same() -> None:
    restart = policy.restart_policy(Stage().service.spec.task, job=False)
    assert {restart_delay(restart, failures) for failures in range(20)} == {5.0}


@pytest.mark.parametrize(("limit", "kept"), [(5, 5), (2, 2), (1, 1), (0, 1), (None, 9)])
def test_history_is_trimmed_per_slot(limit: int | None, kept: int) -> None:
    stage = Stage(replicas=2, task__restart__delay_ms=0)
    stage.history_limit = limit
    stage.run()
    for _ in range(8):
        stage.report(stage.newest(1), FAILED)
        stage.run()
    assert len(stage.of_slot(1)) == kept, "the running task is always kept"
    assert len(stage.of_slot(2)) == 1


def test_a_changed_limit_applies_at_the_next_look() -> None:
    stage = Stage(replicas=1, task__restart__delay_ms=0)
    stage.run()
    for _ in range(4):
        stage.report(stage.newest(1), FAILED)
        stage.run()
    assert len(stage.tasks) == 5
    stage.history_limit = 1
    stage.look()
    assert [task.status.state for task in stage.tasks.values()] == [RUNNING]


def test_a_finished_slot_keeps_the_task_that_says_so() -> None:
    stage = Stage(replicas=1, task__restart__condition=NONE)
    stage.history_limit = 0
    stage.run()
    stage.report(stage.newest(1), COMPLETE)
    stage.run(100.0)
    assert [task.status.state for task in stage.tasks.values()] == [COMPLETE]


def test_a_task_whose_container_lives_is_never_forgotten() -> None:
    stage = Stage(replicas=1)
    stage.history_limit = 0
    stage.run()
    stage.set_node("n1", gone=True)
    stage.run()
    assert len(stage.of_slot(1)) == 2
    stage.set_node("n1", gone=False, ready=True)
    stage.run()
    assert [task.status.state for task in stage.tasks.values()] == [RUNNING]


def test_the_successor_of_a_live_task_starts_a_minute_later_at_the_latest() -> None:
    stage = Stage(replicas=1)
    stage.run()
    stage.set_node("n1", drained=True)
    plan = stage.look()  # and the node never reports the end
    assert plan.wakeup == pytest.approx(stage.now + 60.0)
    stage.now += 60.0
    stage.look()
    assert stage.newest(1).desired_state == RUNNING


def test_the_wait_for_a_live_task_is_longer_than_its_grace() -> None:
    stage = Stage(replicas=1, task__container__stop_grace_ms=300_000)
    stage.run()
    stage.set_node("n1", drained=True)
    plan = stage.look()
    assert plan.wakeup == pytest.approx(stage.now + 310.0)


def test_an_old_task_is_told_to_end_though_it_has() -> None:
    stage = Stage(replicas=1)
    stage.run()
    stage.report(stage.newest(1), FAILED)
    stage.look()
    old, _ = stage.of_slot(1)
    assert old.desired_state == SHUTDOWN
    assert not old.stop_reason, "it ended by itself"


@pytest.mark.parametrize("window_ms", [0, 3_600_000])
def test_attempts_that_were_counted_stay_counted_when_a_task_is_moved(window_ms: int) -> None:
    stage = Stage(
        replicas=1,
        task__restart__max_attempts=1,
        task__restart__delay_ms=0,
        task__restart__window_ms=window_ms,
    )
    stage.run()
    stage.report(stage.newest(1), FAILED)
    stage.run()
    stage.set_node(stage.newest(1).node_id, drained=True)
    stage.run()
    assert stage.newest(1).restarts_before == 1
    stage.report(stage.newest(1), FAILED)
    stage.run(10.0)
    assert not stage.active()
