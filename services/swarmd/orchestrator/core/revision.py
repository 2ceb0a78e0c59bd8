"""What a user's update or rollback makes of a service, before any task changes. Pure.

The result is for `Tx.update`; the store puts the index of the transaction in place of the spec version 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import UPDATE_STATE_ROLLBACK_STARTED
from services.kit import errors
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Service, ServiceSpec


def revise(service: Service, spec: ServiceSpec, now: float) -> Service:
    """Return the service with a new spec; an update that goes on, or is paused, ends with that.

    Raises:
        errors.Invalid: The mode or the name would change.
    """
    if spec.mode.WhichOneof("mode") != service.spec.mode.WhichOneof("mode"):
        raise errors.Invalid(
            "a service cannot change its mode: remove it and create it anew", reason="MODE_CHANGE"
        )
    if spec.annotations.name != service.spec.annotations.name:
        raise errors.Invalid("a service cannot be renamed: create another", reason="SPEC_INVALID")
    revised = copy_of(service)
    revised.previous_spec.CopyFrom(service.spec)
    revised.previous_spec_version = service.spec_version
    revised.spec.CopyFrom(spec)
    revised.spec_version = 0
    revised.ClearField("update_status")
    _restart_job(revised, now)
    return revised


def roll_back(service: Service, now: float) -> Service:
    """Return the service with its previous spec; doing it twice brings the present one back.

    Raises:
        errors.FailedPrecondition: There is no previous spec.
    """
    if not service.HasField("previous_spec"):
        raise errors.FailedPrecondition(
            f"service {service.spec.annotations.name} has no previous spec to roll back to",
            reason="NO_PREVIOUS_SPEC",
        )
    revised = copy_of(service)
    revised.spec.CopyFrom(service.previous_spec)
    revised.spec_version = service.previous_spec_version
    revised.previous_spec.CopyFrom(service.spec)
    revised.previous_spec_version = service.spec_version
    revised.ClearField("update_status")
    revised.update_status.state = UPDATE_STATE_ROLLBACK_STARTED
    revised.update_status.message = "manually requested rollback"
    timestamps.put(revised.update_status.started_at, now)
    _restart_job(revised, now)
    return revised


def start_job(service: Service, now: float) -> None:
    """Set the first iteration of a new service, in place, if it is a job."""
    _restart_job(service, now)


def _restart_job(service: Service, now: float) -> None:
    if service.spec.mode.WhichOneof("mode") in {"replicated_job", "global_job"}:
        service.job.iteration += 1
        timestamps.put(service.job.started_at, now)
