"""What accepted requests make of a service, and which come too late."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.api import revision
from services.swarmd.store.tables import copy_of
from tests.unit.swarmd.api.messages import refusal_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spec(image: str) -> objects_pb2.ServiceSpec:
    made = objects_pb2.ServiceSpec(annotations=objects_pb2.Annotations(name="web"))
    made.task.container.image = image
    made.mode.replicated.replicas = 1
    return made


def service(version: int = 10, spec_version: int = 10) -> objects_pb2.Service:
    made = objects_pb2.Service(id="s", spec=spec("a"), spec_version=spec_version)
    made.meta.version = version
    return made


def check(of: objects_pb2.Service, version: int) -> bool:
    refusal = refusal_of(revision.check_sequence, of, version)
    if refusal is None:
        return True
    assert (type(refusal), refusal.reason) == (errors.Conflict, "VERSION_MISMATCH")
    assert "out of sequence" in refusal.message
    return False


def test_only_a_change_of_the_spec_outdates_what_was_read() -> None:
    touched = service(version=20, spec_version=10)
    assert check(touched, 20)
    assert check(touched, 10), "what the swarm wrote since does not count"
    assert check(touched, 15)
    assert not check(touched, 9)
    assert not check(touched, 21), "nobody has read that yet"
    assert not check(touched, 0)


def test_a_rollback_outdates_what_was_read_before() -> None:
    back = service(version=40, spec_version=10)
    back.update_status.state = objects_pb2.UPDATE_STATE_ROLLBACK_STARTED
    assert not check(back, 25), "nobody knows yet when it was rolled back"
    back.update_status.id = 30
    assert not check(back, 25)
    assert check(back, 35)


def test_an_update_keeps_the_spec_before() -> None:
    after = revision.updated(service(), spec("b"), NOW)
    assert after.spec == spec("b")
    assert after.previous_spec == spec("a")
    assert (after.spec_version, after.previous_spec_version) == (0, 10)


def test_the_same_spec_again_does_not_push_out_the_one_before() -> None:
    before = revision.updated(service(), spec("b"), NOW)
    before.spec_version = 11
    before.update_status.state = objects_pb2.UPDATE_STATE_UPDATING
    assert revision.updated(before, spec("b"), NOW) == before
    paused = copy_of(before)
    paused.update_status.state = objects_pb2.UPDATE_STATE_PAUSED
    resumed = revision.updated(paused, spec("b"), NOW)
    assert not resumed.HasField("update_status")
    assert resumed.previous_spec == spec("a")


def test_two_rollbacks_are_none() -> None:
    before = revision.updated(service(), spec("b"), NOW)
    before.spec_version = 11
    once = revision.rolled_back(before, NOW)
    assert (once.spec, once.spec_version) == (spec("a"), 10)
    assert once.update_status.state == objects_pb2.UPDATE_STATE_ROLLBACK_STARTED
    twice = revision.rolled_back(once, NOW)
    assert (twice.spec, twice.spec_version) == (spec("b"), 11)


def test_there_must_be_something_to_roll_back_to() -> None:
    with pytest.raises(errors.FailedPrecondition) as caught:
        revision.rolled_back(service(), NOW)
    assert caught.value.reason == "NO_PREVIOUS_SPEC"


def test_a_job_runs_anew_with_every_update() -> None:
    job = spec("a")
    job.mode.replicated_job.total_completions = 2
    made = revision.created("s", job, NOW)
    assert made.job.iteration == 1
    assert revision.updated(made, job, NOW).job.iteration == 2
