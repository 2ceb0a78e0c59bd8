"""What an accepted request makes of a service. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.store import refusals
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from datetime import datetime

_ROLLBACKS = frozenset(
    {
        objects_pb2.UPDATE_STATE_ROLLBACK_STARTED,
        objects_pb2.UPDATE_STATE_ROLLBACK_PAUSED,
        objects_pb2.UPDATE_STATE_ROLLBACK_COMPLETED,
    }
)


def created(service_id: str, spec: objects_pb2.ServiceSpec, now: datetime) -> objects_pb2.Service:
    """Return a new service."""
    service = objects_pb2.Service(id=service_id, spec=spec)
    if _is_job(service):
        service.job.iteration = 1
        service.job.started_at.FromDatetime(now)
    return service


def check_sequence(service: objects_pb2.Service, version: int) -> None:
    """Check that who made a change from `version` of a service knew the spec that it has now.

    The swarm itself writes into the object: an update goes on, a port is picked. None of that outdates what a user has
    read, so only a change of the spec does.

    Raises:
        errors.Conflict: VERSION_MISMATCH.
    """
    if version == service.meta.version:
        return
    knows_spec = service.spec_version <= version < service.meta.version
    # A rollback brings an old spec back under its old version.
    status = service.update_status
    rolled_back_since = status.state in _ROLLBACKS and (not status.id or version <= status.id)
    if not knows_spec or rolled_back_since:
        raise refusals.out_of_sequence("service", service.id)


def updated(
    service: objects_pb2.Service, spec: objects_pb2.ServiceSpec, now: datetime
) -> objects_pb2.Service:
    """Return the service with another spec; a paused update is over by that.

    The same spec again is no update, so that it does not push out the spec to roll back to; it resumes what was paused.
    A job runs anew with every update.
    """
    changed = copy_of(service)
    if spec != service.spec or _is_job(service):
        changed.previous_spec.CopyFrom(service.spec)
        changed.previous_spec_version = service.spec_version
        changed.spec.CopyFrom(spec)
        changed.spec_version = 0  # the store puts the version of this transaction
        changed.ClearField("update_status")
    elif service.update_status.state in {
        objects_pb2.UPDATE_STATE_PAUSED,
        objects_pb2.UPDATE_STATE_ROLLBACK_PAUSED,
    }:
        changed.ClearField("update_status")
    _start_job_anew(changed, now)
    return changed


def rolled_back(service: objects_pb2.Service, now: datetime) -> objects_pb2.Service:
    """Return the service with the spec that it had before; once more, and it is what it was.

    Raises:
        errors.FailedPrecondition: NO_PREVIOUS_SPEC.
    """
    if not service.HasField("previous_spec"):
        raise errors.FailedPrecondition(
            f"service {service.spec.annotations.name} has no previous spec to roll back to",
            reason="NO_PREVIOUS_SPEC",
        )
    changed = copy_of(service)
    changed.spec.CopyFrom(service.previous_spec)
    changed.spec_version = service.previous_spec_version
    changed.previous_spec.CopyFrom(service.spec)
    changed.previous_spec_version = service.spec_version
    changed.ClearField("update_status")
    changed.update_status.state = objects_pb2.UPDATE_STATE_ROLLBACK_STARTED
    changed.update_status.message = "manually requested rollback"
    changed.update_status.started_at.FromDatetime(now)
    _start_job_anew(changed, now)
    return changed


def _start_job_anew(service: objects_pb2.Service, now: datetime) -> None:
    if _is_job(service):
        service.job.iteration += 1
        service.job.started_at.FromDatetime(now)


def _is_job(service: objects_pb2.Service) -> bool:
    return service.spec.mode.WhichOneof("mode") in {"replicated_job", "global_job"}
