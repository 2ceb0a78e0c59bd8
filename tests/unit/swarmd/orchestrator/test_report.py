"""What the leader takes of the reports of nodes."""

import pytest

from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ACCEPTED,
    TASK_STATE_ASSIGNED,
    TASK_STATE_NEW,
    TASK_STATE_ORPHANED,
    TASK_STATE_PREPARING,
    TASK_STATE_REMOVE,
    Task,
    TaskStatus,
)
from services.swarmd.orchestrator.core import report
from services.swarmd.store.timestamps import seconds
from tests.unit.swarmd.orchestrator.stage import COMPLETE, FAILED, RUNNING, SHUTDOWN


def task_in(state: int) -> Task:
    task = Task(id="t", node_id="n")
    task.status.state = state  # type: ignore[assignment]
    return task


def accept(task: Task, state: int, now: float = 100.0, **fields: object) -> Task | None:
    status = TaskStatus(state=state, **fields)  # type: ignore[arg-type]
    return report.accept(task, status, now=now, manager_id="m")


@pytest.mark.parametrize(
    "state", [TASK_STATE_NEW, TASK_STATE_ASSIGNED, TASK_STATE_REMOVE, TASK_STATE_ORPHANED]
)
def test_some_states_are_not_a_nodes_to_say(state: int) -> None:
    assert accept(task_in(TASK_STATE_ASSIGNED), state) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RUNNING, TASK_STATE_PREPARING),
        (COMPLETE, FAILED),
        (SHUTDOWN, RUNNING),
        (TASK_STATE_ORPHANED, RUNNING),
    ],
)
def test_backward_moves_are_dropped(before: int, after: int) -> None:
    assert accept(task_in(before), after) is None


def test_the_leaders_time_is_what_counts() -> None:
    accepted = accept(task_in(TASK_STATE_ASSIGNED), TASK_STATE_ACCEPTED)
    assert accepted is not None
    assert seconds(accepted.status.applied_at) == 100.0
    assert accepted.status.applied_by == "m"
    assert not accepted.status.HasField("running_since")


def test_since_when_a_task_runs_is_kept_after_its_end() -> None:
    running = accept(task_in(TASK_STATE_ASSIGNED), RUNNING, 100.0)
    assert running is not None
    renewed = accept(running, RUNNING, 110.0, message="healthy")
    assert renewed is not None
    assert (seconds(renewed.status.running_since), seconds(renewed.status.applied_at)) == (100.0, 100.0)
    ended = accept(renewed, FAILED, 120.0)
    assert ended is not None
    assert (seconds(ended.status.running_since), seconds(ended.status.applied_at)) == (100.0, 120.0)


def test_a_node_cannot_set_what_the_leader_keeps() -> None:
    lie = TaskStatus(state=TASK_STATE_PREPARING, applied_by="node")
    lie.running_since.seconds = 1
    accepted = report.accept(task_in(TASK_STATE_ASSIGNED), lie, now=5.0, manager_id="m")
    assert accepted is not None
    assert accepted.status.applied_by == "m"
    assert not accepted.status.HasField("running_since")


def test_a_repeated_report_changes_nothing() -> None:
    running = accept(task_in(TASK_STATE_ASSIGNED), RUNNING)
    assert running is not None
    assert accept(running, RUNNING, 200.0) is None
