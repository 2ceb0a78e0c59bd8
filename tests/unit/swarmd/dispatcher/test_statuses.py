"""What becomes of reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.dispatcher.core.statuses import TEXT_CHARS_MAX, merge

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
ACCEPTED, RUNNING = objects_pb2.TASK_STATE_ACCEPTED, objects_pb2.TASK_STATE_RUNNING
FAILED, ORPHANED = objects_pb2.TASK_STATE_FAILED, objects_pb2.TASK_STATE_ORPHANED


def task(state: objects_pb2.TaskState.ValueType = objects_pb2.TASK_STATE_ASSIGNED) -> objects_pb2.Task:
    return objects_pb2.Task(id="t", node_id="n", status=objects_pb2.TaskStatus(state=state))


def report(state: objects_pb2.TaskState.ValueType, **more: object) -> objects_pb2.TaskStatus:
    return objects_pb2.TaskStatus(state=state, **more)  # type: ignore[arg-type]


def taken(
    before: objects_pb2.Task, status: objects_pb2.TaskStatus, now: datetime = NOW
) -> objects_pb2.Task | None:
    return merge(before, status, now=now, leader_id="leader")


def test_a_report_is_stamped_by_the_leader() -> None:
    status = report(RUNNING, applied_by="somebody", message="started")
    status.applied_at.FromDatetime(LATER)
    after = taken(task(), status)
    assert after is not None
    assert after.status.applied_by == "leader"
    assert after.status.applied_at.ToDatetime(tzinfo=UTC) == NOW
    assert after.status.running_since.ToDatetime(tzinfo=UTC) == NOW


def test_states_never_go_back() -> None:
    assert taken(task(RUNNING), report(ACCEPTED)) is None
    assert taken(task(ORPHANED), report(RUNNING)) is None


def test_what_is_known_is_no_news() -> None:
    first = taken(task(), report(RUNNING, message="started"))
    assert first is not None
    assert taken(first, report(RUNNING, message="started"), LATER) is None


def test_another_text_keeps_the_time_of_the_state() -> None:
    first = taken(task(), report(ACCEPTED, message="accepted"))
    assert first is not None
    second = taken(first, report(ACCEPTED, message="accepted: waits"), LATER)
    assert second is not None
    assert second.status.message == "accepted: waits"
    assert second.status.applied_at == first.status.applied_at


def test_that_it_ran_is_remembered_when_it_has_ended() -> None:
    running = taken(task(), report(RUNNING))
    assert running is not None
    failed = taken(running, report(FAILED, error="exit 1"), LATER)
    assert failed is not None
    assert failed.status.running_since == running.status.running_since


def test_a_task_that_never_ran_does_not_claim_it() -> None:
    status = report(FAILED)
    status.running_since.FromDatetime(NOW)
    after = taken(task(), status)
    assert after is not None
    assert not after.status.HasField("running_since")


def test_texts_have_an_end() -> None:
    after = taken(task(), report(FAILED, error="x" * 100_000))
    assert after is not None
    assert len(after.status.error) == TEXT_CHARS_MAX


@given(st.integers(0, 900), st.integers(0, 900))
def test_nobody_can_report_what_only_the_swarm_decides(old: int, new: int) -> None:
    values = objects_pb2.TaskState.values()
    if old not in values:
        return
    before = task(objects_pb2.TaskState.ValueType(old))
    after = taken(before, report(objects_pb2.TaskState.ValueType(new)))
    if after is not None:
        assert old <= after.status.state
        assert ACCEPTED <= after.status.state <= objects_pb2.TASK_STATE_REJECTED
