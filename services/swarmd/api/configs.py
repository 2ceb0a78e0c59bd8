"""ConfigService."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.swarmd.api import filters, lookup, paging, references
from services.swarmd.api.checks.files import CONFIG_BYTES_MAX, check_file
from services.swarmd.api.checks.refusal import check_labels
from services.swarmd.store import refusals
from services.swarmd.store.tables import CONFIGS, SERVICES_BY_CONFIG, copy_of

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.transaction import Tx

_FILTER: filters.Filter[objects_pb2.Config] = filters.Filter(
    {
        "id": lambda config, value: config.id.startswith(value),
        "name": lambda config, value: config.spec.annotations.name.startswith(value),
    },
    {"label": lambda config, value: filters.has_label(config.spec.annotations.labels, value)},
)


class ConfigServicer(control_pb2_grpc.ConfigServiceServicer):
    """Keeps configs."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def CreateConfig(
        self, request: control_pb2.CreateConfigRequest, _context: Context
    ) -> control_pb2.CreateConfigResponse:
        """Make a config."""
        self._manager.leader.require_leading()
        check_file("config", request.spec, CONFIG_BYTES_MAX, size_bytes_min=0)
        config_id = self._manager.new_id()
        await self._manager.store.update(
            lambda tx: tx.create(CONFIGS, objects_pb2.Config(id=config_id, spec=request.spec))
        )
        return control_pb2.CreateConfigResponse(config=self._found(config_id))

    async def ListConfigs(
        self, request: control_pb2.ListConfigsRequest, _context: Context
    ) -> control_pb2.ListConfigsResponse:
        """Page through the configs."""
        await self._manager.leader.read_barrier(control_pb2.CONSISTENCY_UNSPECIFIED)
        found = _FILTER.apply(self._manager.store.view().list(CONFIGS), request.filters)
        page = paging.page(
            found,
            lambda config: (config.spec.annotations.name, config.id),
            size=request.page_size,
            token=request.page_token,
        )
        return control_pb2.ListConfigsResponse(configs=page.items, next_page_token=page.next_token)

    async def GetConfig(
        self, request: control_pb2.GetConfigRequest, _context: Context
    ) -> control_pb2.GetConfigResponse:
        """Return one config."""
        await self._manager.leader.read_barrier(control_pb2.CONSISTENCY_UNSPECIFIED)
        return control_pb2.GetConfigResponse(config=self._found(request.config))

    async def UpdateConfig(
        self, request: control_pb2.UpdateConfigRequest, _context: Context
    ) -> control_pb2.UpdateConfigResponse:
        """Change the labels of a config."""
        self._manager.leader.require_leading()
        check_labels("labels", request.labels)

        def update(tx: Tx) -> str:
            config = lookup.config(tx, request.config)
            if config.meta.version != request.version:
                raise refusals.out_of_sequence("config", config.id)
            changed = copy_of(config)
            changed.spec.annotations.labels.clear()
            changed.spec.annotations.labels.update(request.labels)
            tx.update(CONFIGS, changed)
            return config.id

        config_id = await self._manager.store.update(update)
        return control_pb2.UpdateConfigResponse(config=self._found(config_id))

    async def RemoveConfig(
        self, request: control_pb2.RemoveConfigRequest, _context: Context
    ) -> control_pb2.RemoveConfigResponse:
        """Remove a config that no service uses."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> None:
            config = lookup.config(tx, request.config)
            users = list(tx.find(SERVICES_BY_CONFIG, config.id))
            references.check_unused("config", config.spec.annotations.name, users)
            tx.remove(CONFIGS, config.id)

        await self._manager.store.update(remove)
        return control_pb2.RemoveConfigResponse()

    def _found(self, name: str) -> objects_pb2.Config:
        return lookup.config(self._manager.store.view(), name)
