"""Global services and jobs."""

import pytest

from services.swarmd.orchestrator.core.enforcer import TOO_SMALL, enforce
from services.swarmd.scheduler.core.nodes import NodeView, Resources
from tests.unit.swarmd.orchestrator.stage import (
    COMPLETE,
    FAILED,
    NONE,
    READY,
    REMOVE,
    RUNNING,
    SHUTDOWN,
    Stage,
)


def nodes_of(stage: Stage) -> set[str]:
    return {task.node_id for task in stage.running()}


def test_one_task_on_each_node() -> None:
    stage = Stage(mode="global")
    stage.run()
    assert nodes_of(stage) == {"n1", "n2", "n3"}
    assert all(task.slot == 0 for task in stage.running())


def test_a_node_that_is_added_gets_one_and_one_that_is_removed_loses_it() -> None:
    stage = Stage(mode="global")
    stage.run()
    stage.nodes["n4"] = NodeView(id="n4")
    stage.run()
    assert nodes_of(stage) == {"n1", "n2", "n3", "n4"}
    del stage.nodes["n1"]
    stage.run()
    (left,) = [task for task in stage.tasks.values() if task.node_id == "n1"]
    assert left.desired_state == REMOVE


@pytest.mark.parametrize("change", [{"drained": True}, {"gone": True}])
def test_a_node_that_is_drained_or_down_loses_it_and_gets_a_new_one_later(change: dict[str, bool]) -> None:
    stage = Stage(mode="global")
    stage.run()
    first = stage.newest("n1").id
    stage.set_node("n1", **change)
    stage.run()
    assert nodes_of(stage) >= {"n2", "n3"}
    assert stage.tasks[first].desired_state == SHUTDOWN
    stage.set_node("n1", gone=False, drained=False, ready=True)
    stage.run()
    assert nodes_of(stage) == {"n1", "n2", "n3"}
    assert stage.newest("n1").id != first
    assert stage.tasks[first].status.state == SHUTDOWN


def test_a_paused_node_keeps_its_task_but_gets_none() -> None:
    stage = Stage(mode="global")
    stage.set_node("n2", paused=True)
    stage.run()
    assert nodes_of(stage) == {"n1", "n3"}
    stage.set_node("n1", paused=True)
    stage.run()
    assert nodes_of(stage) == {"n1", "n3"}


def test_constraints_are_honoured_when_nodes_or_the_spec_change() -> None:
    stage = Stage(mode="global", task__placement__constraints=["node.labels.zone==a"])
    stage.set_node("n1", labels={"zone": "a"})
    stage.set_node("n2", labels={"zone": "a"})
    stage.run()
    assert nodes_of(stage) == {"n1", "n2"}
    stage.set_node("n2", labels={"zone": "b"})
    stage.run()
    assert nodes_of(stage) == {"n1"}
    stage.update(task__placement__constraints=["node.labels.zone==b"])
    stage.run()
    assert nodes_of(stage) == {"n2"}


def test_a_failed_task_is_followed_on_its_node() -> None:
    stage = Stage(mode="global")
    stage.run()
    stage.report(stage.newest("n2"), FAILED)
    stage.look()
    assert (stage.newest("n2").desired_state, stage.newest("n2").node_id) == (READY, "n2")
    stage.run(5.0)
    assert nodes_of(stage) == {"n1", "n2", "n3"}


def test_it_is_updated_node_by_node() -> None:
    stage = Stage(mode="global")
    stage.run()
    stage.update(task__container__image="web:2")
    stage.look()
    assert len([task for task in stage.active() if task.spec.container.image == "web:2"]) == 1
    stage.run(60.0)
    assert (stage.update_state, stage.images()) == ("COMPLETED", ["web:2"] * 3)


def test_the_update_passes_over_a_paused_node_until_it_is_active() -> None:
    stage = Stage(mode="global")
    stage.run()
    stage.set_node("n1", paused=True)
    stage.update(task__container__image="web:2")
    stage.run(60.0)
    assert (stage.update_state, sorted(stage.images())) == ("COMPLETED", ["web:1", "web:2", "web:2"])
    stage.set_node("n1", paused=False, ready=True)
    stage.run(60.0)
    assert (stage.update_state, stage.images()) == ("COMPLETED", ["web:2"] * 3)


def test_history_is_kept_per_node() -> None:
    stage = Stage(mode="global", task__restart__delay_ms=0)
    stage.history_limit = 3
    stage.run()
    for _ in range(5):
        stage.report(stage.newest("n1"), FAILED)
        stage.run()
    assert (len(stage.of_slot("n1")), len(stage.of_slot("n2"))) == (3, 1)


# Jobs.


def job(total: int, at_once: int = 0, **fields: object) -> Stage:
    return Stage(
        mode="replicated_job",
        mode__replicated_job__total_completions=total,
        mode__replicated_job__max_concurrent=at_once,
        **fields,  # type: ignore[arg-type]
    )


def test_a_job_runs_to_its_end_so_many_times() -> None:
    stage = job(5, 2)
    stage.run()
    done = 0
    while stage.running():
        assert len(stage.running()) <= 2
        stage.report(stage.running()[0], COMPLETE)
        done += 1
        stage.run()
    assert done == 5
    assert sorted(task.slot for task in stage.tasks.values()) == [1, 2, 3, 4, 5]
    assert not stage.look()


def test_a_job_without_a_limit_runs_all_at_once() -> None:
    stage = job(4)
    stage.run()
    assert len(stage.running()) == 4
    assert all(task.desired_state == COMPLETE for task in stage.running())


def test_a_failed_run_is_repeated_and_a_slot_is_given_up_after_its_attempts() -> None:
    stage = job(2, 1, task__restart__max_attempts=1, task__restart__delay_ms=1000)
    stage.run()
    stage.report(stage.running()[0], FAILED)
    stage.run(1.0)
    assert [task.slot for task in stage.running()] == [1]
    stage.report(stage.running()[0], FAILED)
    stage.run(10.0)
    assert [task.slot for task in stage.running()] == [2], "the next slot gets its turn"
    stage.report(stage.running()[0], COMPLETE)
    stage.run(10.0)
    assert not stage.running()
    assert not stage.look()


def test_an_update_starts_the_job_anew() -> None:
    stage = job(2)
    stage.run()
    for task in stage.running():
        stage.report(task, COMPLETE)
    stage.run()
    stage.update(task__container__image="job:2")
    assert stage.service.job.iteration == 2
    stage.run()
    assert {task.job_iteration for task in stage.tasks.values()} == {2}
    assert stage.images() == ["job:2"] * 2


def test_a_job_moves_off_a_node_that_goes_down() -> None:
    stage = job(1)
    stage.run()
    stage.set_node("n1", gone=True)
    stage.run()
    assert [task.node_id for task in stage.running()] == ["n2"]


def test_a_global_job_runs_once_on_each_node_also_on_a_new_one() -> None:
    stage = Stage(mode="global_job")
    stage.run()
    for task in stage.running():
        stage.report(task, COMPLETE)
    stage.run(100.0)
    assert not stage.running()
    stage.nodes["n4"] = NodeView(id="n4")
    stage.run()
    assert nodes_of(stage) == {"n4"}


def test_a_job_that_must_not_be_repeated_is_given_up() -> None:
    stage = job(1, task__restart__condition=NONE)
    stage.run()
    stage.report(stage.running()[0], FAILED)
    stage.run(100.0)
    assert len(stage.made) == 1


# Nodes.


def test_a_node_that_shrank_loses_its_youngest_tasks() -> None:
    stage = Stage(replicas=4, nodes=1, task__reservations__memory_bytes=100)
    stage.run()
    node = NodeView(id="n1", resources=Resources(memory_bytes=250))
    plan = enforce(stage.tasks.values(), node)
    assert [task.stop_reason for task in plan.changed] == [TOO_SMALL] * 2
    kept = set(stage.tasks) - {task.id for task in plan.changed}
    assert kept == set(sorted(stage.tasks)[:2])
    assert not enforce(stage.tasks.values(), NodeView(id="n1")), "a node that tells nothing has enough"
    assert all(task.status.state == RUNNING for task in plan.changed)
