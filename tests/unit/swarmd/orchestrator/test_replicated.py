"""Replicated services: the number of slots, scaling, nodes that go and come, leader changes."""

import pytest

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_ASSIGNED, TASK_STATE_PREPARING
from services.swarmd.orchestrator.core import disown, slots
from services.swarmd.orchestrator.core.draft import CREATIONS_MAX
from services.swarmd.orchestrator.core.replicated import rank_for_keeping
from tests.unit.swarmd.orchestrator.stage import (
    FAILED,
    NONE,
    READY,
    REMOVE,
    RUNNING,
    SHUTDOWN,
    Stage,
)


def test_replicas_fill_the_slots_from_one() -> None:
    stage = Stage(replicas=4)
    stage.look()
    assert [task.slot for task in stage.active()] == [1, 2, 3, 4]
    assert all(task.desired_state == RUNNING and not task.node_id for task in stage.active())


def test_five_on_five_nodes_scaled_to_twelve_stay_balanced() -> None:
    stage = Stage(replicas=5, nodes=5)
    stage.run()
    assert stage.spread() == [1, 1, 1, 1, 1]
    stage.update(mode__replicated__replicas=12)
    stage.run()
    assert stage.spread() == [3, 3, 2, 2, 2]


@pytest.mark.parametrize("replicas", [0, 1, 3, 5])
def test_scaling_down_keeps_nodes_balanced(replicas: int) -> None:
    stage = Stage(replicas=6)
    stage.run()
    stage.update(mode__replicated__replicas=replicas)
    stage.run()
    assert len(stage.tasks) == len(stage.running()) == replicas, (
        "surplus tasks are forgotten once they have ended"
    )
    assert max(stage.spread()) - min(stage.spread()) <= 1


def test_scaling_down_takes_tasks_that_do_not_run_yet_first() -> None:
    stage = Stage(replicas=6)
    stage.look()
    for task in stage.active():
        stage.assign(task)
    stage.obey()
    for slot in (1, 5):
        stage.newest(slot).status.state = TASK_STATE_PREPARING
    stage.update(mode__replicated__replicas=3)
    stage.look()
    assert [task.slot for task in stage.active()] == [2, 3, 4]


def test_slots_without_a_node_are_the_first_to_go() -> None:
    stage = Stage(replicas=3)
    stage.look()
    stage.assign(stage.newest(2))
    ranked = rank_for_keeping(list(slots.group(stage.tasks.values()).values()))
    assert [slot.key for slot in ranked] == [2, 1, 3]


def test_a_killed_task_is_followed_in_its_slot() -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.report(stage.newest(2), FAILED, "exit code 137")
    stage.look()
    old, new = stage.of_slot(2)
    assert (old.status.state, old.desired_state) == (FAILED, SHUTDOWN)
    assert new.desired_state == READY
    stage.run(5.0)
    assert len(stage.running()) == 3


def test_scaling_up_takes_the_lowest_free_slots() -> None:
    stage = Stage(replicas=4)
    stage.run()
    stage.tasks = {task.id: task for task in stage.tasks.values() if task.slot in {2, 4}}
    stage.look()
    assert [task.slot for task in stage.active()] == [1, 2, 3, 4]


def test_a_slot_that_is_wanted_again_waits_for_its_old_container() -> None:
    stage = Stage(replicas=2)
    stage.run()
    stage.update(mode__replicated__replicas=1)
    stage.look()
    (leaving,) = [task for task in stage.tasks.values() if task.desired_state == REMOVE]
    stage.update(mode__replicated__replicas=2)
    stage.look()
    new = stage.newest(leaving.slot)
    assert new.desired_state == READY
    assert new.start_after_task_id == leaving.id
    stage.run()
    assert len(stage.running()) == 2


def test_tasks_of_a_node_that_is_down_move_at_once_and_do_not_come_back() -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.set_node("n1", gone=True)
    stage.run()
    assert len(stage.running()) == 3
    assert {task.node_id for task in stage.running()} == {"n2", "n3"}
    (lost,) = [task for task in stage.tasks.values() if task.node_id == "n1"]
    assert (lost.desired_state, lost.status.state) == (SHUTDOWN, RUNNING)
    assert lost.stop_reason == "node host-1 is down"
    stage.set_node("n1", gone=False, ready=True)
    stage.run()
    assert len(stage.running()) == 3, "the node coming back gets no duplicates"
    assert stage.tasks[lost.id].status.state == SHUTDOWN


def test_a_drained_node_is_emptied_and_gets_new_tasks_when_active_again() -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.set_node("n1", drained=True)
    stage.look()
    (old,) = [task for task in stage.tasks.values() if task.node_id == "n1"]
    new = stage.newest(old.slot)
    assert new.desired_state == READY, "the new one waits for the old container"
    stage.run()
    assert {task.node_id for task in stage.running()} == {"n2", "n3"}
    stage.set_node("n1", drained=False, ready=True)
    stage.run()
    assert {task.node_id for task in stage.running()} == {"n2", "n3"}, "nothing moves back by itself"
    stage.update(mode__replicated__replicas=6)
    stage.run()
    assert stage.spread() == [2, 2, 2]


def test_a_paused_node_keeps_its_tasks_and_gets_no_more() -> None:
    stage = Stage(replicas=3)
    stage.run()
    stage.set_node("n1", paused=True)
    stage.update(mode__replicated__replicas=6)
    stage.run()
    assert sum(task.node_id == "n1" for task in stage.running()) == 1


def test_the_move_off_a_drained_node_burns_no_attempts() -> None:
    stage = Stage(replicas=1, task__restart__max_attempts=1)
    stage.run()
    for node_id in ("n1", "n2"):
        stage.set_node(node_id, drained=True)
        stage.run()
    assert [task.node_id for task in stage.running()] == ["n3"]
    assert stage.newest(1).restarts_before == 0
    stage.report(stage.newest(1), FAILED)
    stage.run(5.0)
    assert len(stage.running()) == 1, "the one attempt is still there"


def test_a_task_on_a_node_that_does_not_exist_is_replaced() -> None:
    stage = Stage(replicas=1)
    stage.run()
    del stage.nodes["n1"]
    stage.run()
    assert [task.node_id for task in stage.running()] == ["n2"]


def test_a_new_leader_resumes_the_restart_delay() -> None:
    stage = Stage(replicas=1)
    stage.run()
    stage.report(stage.newest(1), FAILED)
    died = stage.now
    stage.now += 3.0  # nobody led for a while
    plan = stage.look()
    assert stage.newest(1).desired_state == READY
    assert plan.wakeup == pytest.approx(died + 5.0)


def test_surplus_tasks_of_one_slot_end() -> None:
    stage = Stage(replicas=1)
    stage.run()
    twin = stage.newest(1)
    copy = type(twin)()
    copy.CopyFrom(twin)
    copy.id = "twin"
    stage._put(copy)
    stage.run()
    assert len(stage.running()) == 1
    assert stage.tasks["twin"].stop_reason == "another task has its slot"


def test_a_task_that_no_node_has_ends_at_once() -> None:
    stage = Stage(replicas=2)
    stage.look()
    stage.update(mode__replicated__replicas=0)
    stage.look()
    assert not stage.tasks


def test_a_node_that_no_longer_meets_the_constraints_loses_its_tasks() -> None:
    stage = Stage(replicas=3, task__placement__constraints=["node.labels.zone==a"])
    for node_id in stage.nodes:
        stage.set_node(node_id, labels={"zone": "a"})
    stage.run()
    stage.set_node("n1", labels={"zone": "b"})
    stage.look()
    (evicted,) = [task for task in stage.tasks.values() if task.node_id == "n1"]
    assert evicted.desired_state == SHUTDOWN
    assert evicted.stop_reason == "assigned node no longer meets constraints"
    assert stage.newest(evicted.slot).desired_state == READY


def test_a_task_that_must_not_run_twice_is_moved_only_if_it_never_started() -> None:
    stage = Stage(replicas=2, task__restart__condition=NONE)
    stage.look()
    for task, node_id in zip(stage.active(), ("n1", "n1"), strict=True):
        stage.assign(task, node_id)
    stage.report(stage.newest(1), RUNNING)
    stage.set_node("n1", gone=True)
    stage.look()
    assert not stage.active(1)
    assert len(stage.active(2)) == 1


def test_tasks_of_a_removed_service_go_in_every_state() -> None:
    stage = Stage(replicas=5)
    stage.look()
    states = [None, TASK_STATE_ASSIGNED, RUNNING, FAILED, SHUTDOWN]
    for task, state in zip(stage.active(), states, strict=True):
        if state is not None:
            stage.assign(task)
        if state not in {None, TASK_STATE_ASSIGNED}:
            stage.report(task, state)
    plan = disown.disown(stage.tasks.values())
    by_slot = {task.slot: task.id for task in stage.tasks.values()}
    assert set(plan.removed) == {by_slot[1], by_slot[4], by_slot[5]}
    assert {task.slot for task in plan.changed} == {2, 3}
    assert all(task.desired_state == REMOVE for task in plan.changed)


def test_a_large_service_is_made_in_several_looks() -> None:
    stage = Stage(replicas=CREATIONS_MAX + 1)
    plan = stage._plan()
    assert (len(plan.made), plan.unfinished) == (CREATIONS_MAX, True)
