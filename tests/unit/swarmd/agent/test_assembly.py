"""The sequence of the assignments stream."""

from __future__ import annotations

import pytest

from beeyard.swarm.v1 import dispatcher_pb2, objects_pb2
from services.kit import errors
from services.swarmd.agent.core.assembly import Assembly

COMPLETE = dispatcher_pb2.ASSIGNMENTS_KIND_COMPLETE
INCREMENTAL = dispatcher_pb2.ASSIGNMENTS_KIND_INCREMENTAL


def message(
    kind: dispatcher_pb2.AssignmentsKind.ValueType,
    applies_to: str,
    results_in: str,
    *task_ids: str,
    continues: bool = False,
) -> dispatcher_pb2.WatchAssignmentsResponse:
    return dispatcher_pb2.WatchAssignmentsResponse(
        kind=kind,
        applies_to=applies_to,
        results_in=results_in,
        update_tasks=[objects_pb2.Task(id=task_id) for task_id in task_ids],
        continues=continues,
    )


def test_steps_in_order_are_taken() -> None:
    assembly = Assembly()
    first = assembly.take(message(COMPLETE, "", "1", "a"))
    second = assembly.take(message(INCREMENTAL, "1", "2", "b"))
    assert first is not None
    assert second is not None
    assert (first.complete, second.complete) == (True, False)
    assert [task.id for task in (*first.tasks, *second.tasks)] == ["a", "b"]


def test_parts_count_with_the_last() -> None:
    assembly = Assembly()
    assert assembly.take(message(COMPLETE, "", "1", "a", continues=True)) is None
    whole = assembly.take(message(COMPLETE, "", "1", "b"))
    assert whole is not None
    assert [task.id for task in whole.tasks] == ["a", "b"]


def test_a_complete_set_may_come_at_any_time() -> None:
    assembly = Assembly()
    assembly.take(message(COMPLETE, "", "1"))
    assert assembly.take(message(COMPLETE, "", "7")) is not None
    assert assembly.take(message(INCREMENTAL, "7", "8")) is not None


@pytest.mark.parametrize(
    "messages",
    [
        [message(INCREMENTAL, "", "1")],
        [message(COMPLETE, "", "1"), message(INCREMENTAL, "2", "3")],
        [message(COMPLETE, "", "1", continues=True), message(INCREMENTAL, "1", "2")],
        [message(COMPLETE, "", "1", continues=True), message(COMPLETE, "", "2")],
    ],
)
def test_a_gap_is_found(messages: list[dispatcher_pb2.WatchAssignmentsResponse]) -> None:
    assembly = Assembly()
    for early in messages[:-1]:
        assembly.take(early)
    with pytest.raises(errors.Conflict, match="assignments"):
        assembly.take(messages[-1])
