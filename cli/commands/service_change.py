"""Reading, changing and writing a service: what update, scale and rollback share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import api, swarm_lists
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.session import Session

WRITE_TIMEOUT_S = 30.0
RETRIES_MAX = 5


def get(session: Session, service: str, *, insert_defaults: bool = False) -> pb.ServiceWithCounts:
    """Read one service."""
    request = pb.GetServiceRequest(service=service, insert_defaults=insert_defaults)
    answer = session.call(api.Services.GetService, request, timeout_s=swarm_lists.READ_TIMEOUT_S)
    swarm_lists.warn_stale(answer.stale)
    return answer.service


def change(
    session: Session,
    service: str,
    edit: Callable[[objects.ServiceSpec], None],
    *,
    rollback: bool = False,
    no_resolve_image: bool = False,
) -> objects.Service:
    """Edit a service's spec and write it; read again and repeat if somebody else was quicker."""
    attempt = 0
    while True:
        attempt += 1
        found = get(session, service).service
        spec = objects.ServiceSpec()
        spec.CopyFrom(found.spec)
        if not rollback:
            edit(spec)
        request = pb.UpdateServiceRequest(
            service=found.id,
            version=found.meta.version,
            spec=spec,
            rollback=rollback,
            no_resolve_image=no_resolve_image or spec.task.container.image == found.spec.task.container.image,
        )
        try:
            answer = session.call(api.Services.UpdateService, request, timeout_s=WRITE_TIMEOUT_S)
        except errors.Conflict:
            if attempt == RETRIES_MAX:
                raise
        else:
            for warning in answer.warnings:
                print(f"Warning: {warning}", file=sys.stderr)
            return answer.service
