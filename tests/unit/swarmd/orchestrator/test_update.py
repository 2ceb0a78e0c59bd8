"""Rolling updates and rollbacks."""

import itertools

import pytest

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_PENDING, TASK_STATE_PREPARING, PublishedPort
from services.swarmd.orchestrator.core import policy
from services.swarmd.orchestrator.core.states import is_active
from services.swarmd.store.tables import copy_of
from tests.unit.swarmd.orchestrator.stage import (
    CONTINUE,
    FAILED,
    NONE,
    PAUSE,
    READY,
    REJECTED,
    ROLLBACK,
    RUNNING,
    SHUTDOWN,
    START_FIRST,
    STOP_FIRST,
    Stage,
)


def updated(**fields: object) -> Stage:
    """A running service whose image has just been changed."""
    stage = Stage(**{"replicas": 4, **fields})  # type: ignore[arg-type]
    stage.run()
    stage.update(task__container__image="web:2")
    return stage


def busy(stage: Stage) -> list[int]:
    return [
        task.slot
        for task in stage.active()
        if task.spec.container.image == "web:2" and task.status.state < RUNNING
    ]


def test_stop_first_ends_the_old_task_before_the_new_one_starts() -> None:
    stage = updated(replicas=1)
    stage.look()
    old, new = stage.of_slot(1)
    assert (old.desired_state, old.stop_reason) == (SHUTDOWN, "replaced by an update")
    assert (new.desired_state, new.start_after_task_id) == (READY, old.id)
    stage.assign(new)
    stage.report(new, READY)
    stage.look()
    assert stage.newest(1).desired_state == READY
    stage.report(old, SHUTDOWN)
    stage.look()
    assert stage.newest(1).desired_state == RUNNING


def test_start_first_ends_the_old_task_once_the_new_one_runs() -> None:
    stage = updated(replicas=1, update__order=START_FIRST)
    stage.look()
    old, new = stage.of_slot(1)
    assert (old.desired_state, new.desired_state) == (RUNNING, RUNNING)
    stage.assign(new)
    stage.report(new, TASK_STATE_PREPARING)
    assert not stage.look()
    stage.report(new, RUNNING)
    stage.look()
    assert stage.of_slot(1)[0].desired_state == SHUTDOWN


def test_start_first_does_not_preserve_what_does_not_run() -> None:
    stage = Stage(replicas=1, update__order=START_FIRST)
    stage.look()
    stage.update(task__container__image="web:2")
    stage.look()
    assert [task.spec.container.image for task in stage.active()] == ["web:2"]


@pytest.mark.parametrize(("parallelism", "at_once"), [(None, 1), (1, 1), (2, 2), (3, 3), (0, 4)])
@pytest.mark.parametrize("order", [STOP_FIRST, START_FIRST])
def test_so_many_slots_at_once(parallelism: int | None, at_once: int, order: int) -> None:
    fields = {} if parallelism is None else {"update__parallelism": parallelism}
    stage = updated(update__order=order, **fields)
    seen = []
    for _ in range(20):
        stage.look()
        seen.append(len(busy(stage)))
        stage.obey()
    assert max(seen) == at_once
    assert stage.images() == ["web:2"] * 4


def test_the_delay_is_kept_after_each_slot() -> None:
    stage = updated(update__delay_ms=3000)
    begins = []
    for _ in range(4):
        stage.run()
        begins.append(stage.now)
        if stage.images().count("web:2") == 4:
            break
        stage.now = stage.look().wakeup or stage.now
    gaps = [after - before for before, after in itertools.pairwise(begins)]
    assert gaps == pytest.approx([3.0] * 3, abs=0.01)


def test_it_completes_when_the_last_task_was_monitored() -> None:
    stage = updated(replicas=2, update__parallelism=0)
    stage.run()
    assert stage.update_state == "UPDATING"
    assert stage.service.update_status.message == "update in progress"
    stage.run(4.9)
    assert stage.update_state == "UPDATING"
    stage.run(0.2)
    assert stage.update_state == "COMPLETED"
    assert stage.service.update_status.message == "update completed"
    assert stage.service.update_status.HasField("completed_at")


def test_a_long_delay_prolongs_the_watch() -> None:
    stage = updated(replicas=1, update__delay_ms=8000)
    stage.run(8.9)
    assert stage.update_state == "UPDATING"
    stage.run(0.2)
    assert stage.update_state == "COMPLETED"


def test_an_early_death_pauses() -> None:
    stage = updated(update__delay_ms=1000)
    stage.run()
    first = next(task for task in stage.running() if task.spec.container.image == "web:2")
    stage.report(first, FAILED)
    stage.run(60.0)
    assert stage.update_state == "PAUSED"
    assert (
        stage.service.update_status.message
        == f"update paused due to failure or early termination of task {first.id}"
    )
    assert "web:1" in stage.images(), "the rest stays on the old spec"
    assert len(stage.running()) == 4


def test_what_is_restarted_or_added_while_paused_is_of_the_new_spec() -> None:
    stage = updated()
    stage.look()
    stage.assign(stage.newest(1))
    stage.report(stage.newest(1), REJECTED)
    stage.run()
    assert stage.update_state == "PAUSED"
    stage.report(stage.running(3)[0], FAILED)
    stage.run(10.0)
    assert stage.newest(3).spec.container.image == "web:2"
    assert stage.update_state == "PAUSED"


def test_a_death_after_the_monitored_time_does_not_count() -> None:
    stage = updated(replicas=2, update__delay_ms=60_000)
    stage.run()
    first = next(task for task in stage.running() if task.spec.container.image == "web:2")
    stage.now += 6.0
    stage.report(first, FAILED)
    stage.run(200.0)
    assert stage.update_state == "COMPLETED"


def test_a_task_that_was_asked_to_end_has_not_failed() -> None:
    stage = updated(replicas=3)
    stage.run()
    first = next(task for task in stage.running() if task.spec.container.image == "web:2")
    stage.set_node(first.node_id, drained=True)
    stage.look()
    stage.report(first, FAILED, "exit code 143")
    stage.run(100.0)
    assert stage.update_state == "COMPLETED"


def test_continue_goes_on_whatever_fails() -> None:
    stage = updated(update__failure_action=CONTINUE)
    for _ in range(40):
        stage.look()
        stage.obey()
        for task in stage.running():
            if task.spec.container.image == "web:2" and task.update_id:
                stage.report(task, FAILED)
    stage.run(60.0)
    assert stage.update_state == "COMPLETED"
    assert stage.images() == ["web:2"] * 4


@pytest.mark.parametrize(
    ("ratio", "failures", "state"), [(0.5, 2, "COMPLETED"), (0.5, 3, "PAUSED"), (0.25, 1, "COMPLETED")]
)
def test_a_share_of_failures_is_tolerated(ratio: float, failures: int, state: str) -> None:
    stage = updated(update__max_failure_ratio=ratio)
    failed: set[int] = set()
    for _ in range(60):
        stage.look()
        stage.obey()
        for task in stage.running():
            if task.update_id and task.slot not in failed and len(failed) < failures:
                failed.add(task.slot)
                stage.report(task, FAILED)
    stage.run(60.0)
    assert stage.update_state == state


def test_rollback_goes_back_to_the_previous_spec() -> None:
    stage = updated(update__failure_action=ROLLBACK, rollback__parallelism=2)
    before = stage.service.previous_spec_version
    stage.run()
    first = next(task for task in stage.running() if task.spec.container.image == "web:2")
    stage.report(first, FAILED)
    stage.look()
    assert stage.update_state == "ROLLBACK_STARTED"
    assert stage.service.update_status.message.startswith(
        "update rolled back due to failure or early termination"
    )
    assert stage.service.spec_version == before
    assert not stage.service.HasField("previous_spec")
    stage.run(60.0)
    assert stage.update_state == "ROLLBACK_COMPLETED"
    assert stage.images() == ["web:1"] * 4


def test_untouched_tasks_live_through_a_rollback() -> None:
    stage = updated(update__failure_action=ROLLBACK, update__delay_ms=1000)
    untouched = {task.id for task in stage.running()}
    stage.run()
    first = next(task for task in stage.running() if task.spec.container.image == "web:2")
    stage.report(first, FAILED)
    stage.run(60.0)
    assert len(untouched & {task.id for task in stage.running()}) == 3


def test_a_failing_rollback_is_paused_and_never_rolls_back_again() -> None:
    stage = updated(update__failure_action=ROLLBACK, rollback__failure_action=ROLLBACK)
    stage.run()
    stage.report(next(task for task in stage.running() if task.spec.container.image == "web:2"), FAILED)
    for _ in range(8):
        stage.look()
        stage.obey()
        going_back = [task for task in stage.running() if task.update_id == stage.service.update_status.id]
        if stage.update_state == "ROLLBACK_STARTED" and going_back:
            stage.report(going_back[0], FAILED)
    stage.run(60.0)
    assert stage.update_state == "ROLLBACK_PAUSED"
    assert stage.service.update_status.message.startswith(
        "rollback paused due to failure or early termination"
    )


def test_without_a_previous_spec_a_failed_update_is_paused() -> None:
    stage = updated(update__failure_action=ROLLBACK)
    stage.service.ClearField("previous_spec")
    stage.run()
    stage.report(next(task for task in stage.running() if task.spec.container.image == "web:2"), FAILED)
    stage.look()
    assert stage.update_state == "PAUSED"
    assert "no previous spec" in stage.service.update_status.message


def test_a_rollback_that_the_user_asks_for_toggles() -> None:
    stage = updated(replicas=2)
    stage.run(60.0)
    stage.roll_back()
    stage.run(60.0)
    assert (stage.update_state, stage.images()) == ("ROLLBACK_COMPLETED", ["web:1"] * 2)
    stage.roll_back()
    stage.run(60.0)
    assert (stage.update_state, stage.images()) == ("ROLLBACK_COMPLETED", ["web:2"] * 2)


@pytest.mark.parametrize("state", ["UPDATING", "PAUSED"])
def test_a_new_update_takes_the_place_of_one_that_is_paused_or_goes_on(state: str) -> None:
    stage = updated(update__delay_ms=1000)
    stage.run()
    if state == "PAUSED":
        stage.report(next(task for task in stage.running() if task.spec.container.image == "web:2"), FAILED)
        stage.look()
    assert stage.update_state == state
    stage.update(task__container__image="web:3")
    stage.look()
    assert stage.update_state == "UPDATING"
    stage.run(100.0)
    assert (stage.update_state, stage.images()) == ("COMPLETED", ["web:3"] * 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode__replicated__replicas": 3},
        {"update__delay_ms": 7},
        {"task__pull_policy": "never"},
        {"task__registry_auth": "e30="},
        {"task__placement__constraints": ["node.role==worker"]},
        {"task__placement__max_replicas_per_node": 2},
    ],
)
def test_what_does_not_concern_running_tasks_replaces_none(fields: dict[str, object]) -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.update(**fields)
    stage.run(10.0)
    assert len(stage.made) == 3
    assert stage.update_state == "UNSPECIFIED"


@pytest.mark.parametrize(
    "fields",
    [
        {"task__force_update": 1},
        {"task__container__env": ["A=1"]},
        {"task__reservations__memory_bytes": 1 << 20},
        {"task__restart__max_attempts": 3},
    ],
)
def test_what_concerns_tasks_replaces_all(fields: dict[str, object]) -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.update(**fields)
    stage.run(60.0)
    assert len(stage.made) == 6
    assert stage.update_state == "COMPLETED"


def test_credentials_matter_to_tasks_that_have_no_image_yet() -> None:
    stage = Stage(replicas=1)
    stage.look()
    stage.assign(stage.newest(1))
    stage.update(task__registry_auth="e30=")
    stage.look()
    assert len(stage.made) == 2


def test_another_published_port_replaces_tasks() -> None:
    stage = Stage(replicas=1)
    stage.run()
    with_endpoint = copy_of(stage.newest(1))
    with_endpoint.endpoint.SetInParent()
    stage._put(with_endpoint)
    stage.update(endpoint__ports=[PublishedPort(target_port=80, published_port=8080)])
    assert not stage.look().made, "the port is not given out yet"
    stage.service.endpoint.ports.append(
        PublishedPort(protocol="tcp", target_port=80, published_port=8080, mode=1)
    )
    stage.look()
    assert len(stage.made) == 2


def test_a_constraint_that_the_node_does_not_meet_moves_the_task() -> None:
    stage = Stage(replicas=2, nodes=2)
    stage.run()
    stage.set_node("n2", labels={"zone": "b"})
    stage.update(task__placement__constraints=["node.labels.zone==b"])
    stage.look()
    assert [task.node_id for task in stage.active() if task.node_id == "n2"] == ["n2"]
    assert stage.update_state == "UPDATING"
    assert len(stage.made) == 3


def test_a_task_that_does_not_run_in_time_has_failed() -> None:
    stage = updated(update__progress_deadline_ms=30_000)
    plan = stage.look()
    stuck = stage.newest(1)
    stuck.status.state = TASK_STATE_PENDING
    stuck.status.error = "no suitable node (insufficient resources on 3 nodes)"
    assert plan.wakeup == pytest.approx(stage.now + 30.0)
    stage.now += 30.0
    stage.look()
    assert stage.update_state == "PAUSED"
    assert stage.service.update_status.message == (
        f"update paused due to task {stuck.id}, which does not run after 30 s: "
        "no suitable node (insufficient resources on 3 nodes)"
    )


def test_a_stuck_task_does_not_hold_up_an_update_that_is_to_continue() -> None:
    stage = updated(update__progress_deadline_ms=30_000, update__failure_action=CONTINUE)
    stage.look()
    assert len(busy(stage)) == 1
    stage.now += 31.0
    stage.look()
    assert len(busy(stage)) == 2


def test_a_failed_task_is_tried_again_beside_the_old_one() -> None:
    stage = updated(replicas=2, update__order=START_FIRST, update__failure_action=CONTINUE)
    stage.look()
    new = stage.newest(1)
    stage.assign(new)
    stage.report(new, REJECTED)
    stage.look()
    old, failed, again = stage.of_slot(1)
    assert old.status.state == RUNNING and is_active(old)
    assert failed.desired_state == SHUTDOWN
    assert (again.desired_state, again.update_id) == (READY, 0), "a restart, after its delay"
    stage.run(100.0)
    assert (stage.update_state, stage.images()) == ("COMPLETED", ["web:2"] * 2)


def test_the_old_task_lives_on_when_the_update_is_paused() -> None:
    stage = updated(replicas=1, update__order=START_FIRST, task__restart__condition=NONE)
    stage.look()
    stage.assign(stage.newest(1))
    stage.report(stage.newest(1), REJECTED)
    stage.run(100.0)
    assert (stage.update_state, stage.images()) == ("PAUSED", ["web:1"])


def test_a_rollback_removes_the_new_task_beside_the_old_one() -> None:
    stage = updated(replicas=1, update__order=START_FIRST, update__failure_action=ROLLBACK)
    old = stage.running()[0].id
    stage.look()
    stage.assign(stage.newest(1))
    stage.report(stage.newest(1), REJECTED)
    stage.run(100.0)
    assert stage.update_state == "ROLLBACK_COMPLETED"
    assert [task.id for task in stage.active()] == [old]


def test_a_task_that_is_moved_during_the_update_keeps_its_place() -> None:
    stage = updated(replicas=4)
    stage.look()
    new = stage.newest(1)
    stage.assign(new, "n2")
    stage.set_node("n2", gone=True)
    stage.look()
    moved = stage.newest(1)
    assert moved.id != new.id
    assert moved.update_id == new.update_id
    fresh = [task for task in stage.active() if task.update_id]
    assert {task.slot for task in fresh} >= {1}
    assert len([task for task in fresh if task.slot in {1, 3, 4}]) == 1, "no other slot was begun for it"


def test_the_update_of_a_finished_slot_runs_it_again() -> None:
    stage = Stage(replicas=1, task__restart__condition=NONE)
    stage.run()
    stage.report(stage.newest(1), FAILED)
    stage.run(60.0)
    assert len(stage.made) == 1
    stage.update(task__container__image="web:2")
    stage.run(60.0)
    assert stage.images() == ["web:2"]


def test_broken_slots_are_updated_first() -> None:
    stage = Stage(replicas=3, task__restart__delay_ms=600_000)
    stage.run()
    stage.report(stage.newest(3), FAILED)
    stage.look()
    stage.update(task__container__image="web:2")
    stage.look()
    assert busy(stage) == [3]
    assert stage.newest(3).desired_state == RUNNING, "its restart delay is over with the old spec"


def test_an_update_whose_leader_changes_goes_on_with_the_same_count() -> None:
    """Nothing but the stored objects is kept between looks in any of these tests; this one says it."""
    stage = updated(update__parallelism=2)
    stage.look()
    began = stage.service.update_status.id
    stage.run(60.0)
    assert stage.update_state == "COMPLETED"
    assert {task.update_id for task in stage.running()} == {began}


def test_the_tasks_of_an_update_are_not_forgotten_while_it_counts_them() -> None:
    stage = updated(
        replicas=2, update__max_failure_ratio=0.5, task__restart__delay_ms=0, update__delay_ms=60_000
    )
    stage.history_limit = 1
    stage.run()
    first = next(task for task in stage.running() if task.update_id)
    stage.report(first, FAILED)
    stage.run()
    assert first.id in stage.tasks
    stage.run(300.0)
    assert stage.update_state == "COMPLETED"
    assert first.id not in stage.tasks


def test_pause_is_the_default_action() -> None:
    assert policy.update_policy(Stage().service.spec, rolling_back=False).on_failure == PAUSE
