"""ServiceService."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors, log, names
from services.swarmd.api import counts, defaults, filters, images, lookup, paging, references, revision
from services.swarmd.api.checks import ports, service
from services.swarmd.ca import base36
from services.swarmd.store.tables import SERVICES

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import ImageResolver, Manager
    from services.swarmd.store.transaction import Tx

_log = log.get(__name__)

REQUEST_ID_CHARS_MAX = 128
NAME_ATTEMPTS_MAX = 12
_ID_BYTES, _ID_DIGITS = 16, 25

_MODES = {
    "replicated": "replicated",
    "global": "global",
    "replicated_job": "replicated-job",
    "global_job": "global-job",
}
_FILTER: filters.Filter[objects_pb2.Service] = filters.Filter(
    {
        "id": lambda found, value: found.id.startswith(value),
        "name": lambda found, value: found.spec.annotations.name.startswith(value),
        "mode": lambda found, value: _MODES.get(found.spec.mode.WhichOneof("mode") or "") == value,
    },
    {"label": lambda found, value: filters.has_label(found.spec.annotations.labels, value)},
)


class ServiceServicer(control_pb2_grpc.ServiceServiceServicer):
    """Makes, changes and shows services."""

    def __init__(self, manager: Manager, resolver: ImageResolver) -> None:
        self._manager = manager
        self._resolver = resolver
        # Two services that want one port are two objects: only one after the other do they see each other.
        self._ports = asyncio.Lock()

    async def CreateService(
        self, request: control_pb2.CreateServiceRequest, _context: Context
    ) -> control_pb2.CreateServiceResponse:
        """Make a service; with a request id, once."""
        manager = self._manager
        manager.leader.require_leading()
        service_id = _id_of(request.request_id) if request.request_id else manager.new_id()
        spec = defaults.normalised(request.spec)
        made = manager.store.view().get(SERVICES, service_id)
        if not spec.annotations.name:
            spec.annotations.name = (
                self._invented_name(service_id) if made is None else made.spec.annotations.name
            )
        service.check_spec(spec)
        if made is None:
            warnings = [] if request.no_resolve_image else await images.pin(spec, self._resolver)

            def create(tx: Tx) -> None:
                if tx.get(SERVICES, service_id) is None:
                    new = revision.created(service_id, spec, manager.clock.now())
                    references.settle(tx, new.spec, service_id)
                    tx.create(SERVICES, new)

            async with self._ports:
                await manager.store.update(create)
            made = self._get(service_id)
            _log.info("service_created", service_id=service_id, name=spec.annotations.name)
        else:
            warnings = []
        if made.spec.annotations.name != spec.annotations.name:
            raise errors.AlreadyExists(
                f"the request id was used for service {made.spec.annotations.name} before",
                reason="REQUEST_ID_REUSED",
                metadata={"service_id": service_id},
            )
        return control_pb2.CreateServiceResponse(
            service=made, warnings=[*warnings, *_spec_warnings(made.spec)]
        )

    def _invented_name(self, service_id: str) -> str:
        """Make up a name that no service has."""
        taken = {found.spec.annotations.name for found in self._manager.store.view().list(SERVICES)}
        candidates = (names.derive(service_id, attempt=attempt) for attempt in range(NAME_ATTEMPTS_MAX))
        return next((name for name in candidates if name not in taken), service_id)

    async def ListServices(
        self, request: control_pb2.ListServicesRequest, _context: Context
    ) -> control_pb2.ListServicesResponse:
        """Page through the services."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        view = self._manager.store.view()
        found = _FILTER.apply(view.list(SERVICES), request.filters)
        page = paging.page(
            found,
            lambda item: (item.spec.annotations.name, item.id),
            size=request.page_size,
            token=request.page_token,
        )
        return control_pb2.ListServicesResponse(
            services=[counts.with_counts(view, item) for item in page.items],
            next_page_token=page.next_token,
            stale=stale,
        )

    async def GetService(
        self, request: control_pb2.GetServiceRequest, _context: Context
    ) -> control_pb2.GetServiceResponse:
        """Return one service."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        view = self._manager.store.view()
        found = lookup.service(view, request.service)
        response = control_pb2.GetServiceResponse(service=counts.with_counts(view, found), stale=stale)
        if request.insert_defaults:
            response.service.service.CopyFrom(defaults.with_defaults(found))
        return response

    async def UpdateService(
        self, request: control_pb2.UpdateServiceRequest, _context: Context
    ) -> control_pb2.UpdateServiceResponse:
        """Change a service, or roll it back."""
        manager = self._manager
        manager.leader.require_leading()
        warnings: list[str] = []
        current = lookup.service(manager.store.view(), request.service)
        revision.check_sequence(current, request.version)
        spec = defaults.normalised(request.spec)
        if not request.rollback:
            service.check_spec(spec)
            service.check_change(current.spec, spec)
            if not request.no_resolve_image:
                warnings = await images.pin(spec, self._resolver, current.spec.task.container.image)

        def update(tx: Tx) -> None:
            found = lookup.service(tx, current.id)
            revision.check_sequence(found, request.version)
            now = manager.clock.now()
            changed = (
                revision.rolled_back(found, now) if request.rollback else revision.updated(found, spec, now)
            )
            references.settle(tx, changed.spec, current.id)
            tx.update(SERVICES, changed)

        async with self._ports:
            await manager.store.update(update)
        changed = self._get(current.id)
        _log.info("service_updated", service_id=current.id, rollback=request.rollback)
        if changed.spec.endpoint != current.spec.endpoint:
            warnings += _spec_warnings(changed.spec)
        return control_pb2.UpdateServiceResponse(service=changed, warnings=warnings)

    async def RemoveService(
        self, request: control_pb2.RemoveServiceRequest, _context: Context
    ) -> control_pb2.RemoveServiceResponse:
        """Remove a service."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> str:
            found = lookup.service(tx, request.service)
            tx.remove(SERVICES, found.id)
            return found.id

        service_id = await self._manager.store.update(remove)
        _log.info("service_removed", service_id=service_id)
        return control_pb2.RemoveServiceResponse()

    def _get(self, service_id: str) -> objects_pb2.Service:
        """Return the service that was just written, with its version."""
        found = self._manager.store.view().get(SERVICES, service_id)
        if found is None:
            raise errors.NotFound(
                f"service {service_id} was removed in the same moment", reason="SERVICE_NOT_FOUND"
            )
        return found


def _id_of(request_id: str) -> str:
    """Return the id of the service that a request makes: asked twice, whoever leads by then, the service is there."""
    if len(request_id) > REQUEST_ID_CHARS_MAX:
        raise errors.Invalid(
            f"request ids have at most {REQUEST_ID_CHARS_MAX} characters", reason="REQUEST_ID_INVALID"
        )
    digest = hashlib.sha256(b"service\0" + request_id.encode()).digest()
    return base36.render(digest[:_ID_BYTES], _ID_DIGITS)


def _spec_warnings(spec: objects_pb2.ServiceSpec) -> list[str]:
    """Say what of a spec is accepted but cannot be had fully."""
    shared = [
        str(port.published_port or "(picked)") for port in spec.endpoint.ports if not ports.is_host(port)
    ]
    if not shared:
        return []
    plural, verb = ("s", "answer") if len(shared) > 1 else ("", "answers")
    warning = (
        f"published port{plural} {', '.join(shared)} {verb} on the nodes that run a task of the service, not yet on the"
        " others: the routing mesh between nodes is not available"
    )
    return [warning]
