"""NetworkService: the networks of the swarm."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.swarmd.api import filters, lookup, paging, references
from services.swarmd.api.checks.names import check_annotations
from services.swarmd.store.tables import NETWORKS, SERVICES_BY_NETWORK

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.transaction import Tx

_FILTER: filters.Filter[objects_pb2.SwarmNetwork] = filters.Filter(
    {
        "id": lambda network, value: network.id.startswith(value),
        "name": lambda network, value: network.spec.annotations.name.startswith(value),
        "driver": lambda network, value: (network.spec.driver or "overlay") == value,
    },
    {"label": lambda network, value: filters.has_label(network.spec.annotations.labels, value)},
)


class NetworkServicer(control_pb2_grpc.NetworkServiceServicer):
    """Keeps the networks of the swarm."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def CreateNetwork(
        self, request: control_pb2.CreateNetworkRequest, _context: Context
    ) -> control_pb2.CreateNetworkResponse:
        """Refuse: no driver of this release joins networks of different nodes."""
        check_annotations("annotations", request.spec.annotations)
        raise errors.Unsupported(
            f"network {request.spec.annotations.name} cannot be made: networks that span nodes need the overlay driver,"
            " which this release does not have. Tasks are on the bridge network of their node; ports are published on"
            " the nodes that run a task",
            reason="UNSUPPORTED",
        )

    async def ListNetworks(
        self, request: control_pb2.ListNetworksRequest, _context: Context
    ) -> control_pb2.ListNetworksResponse:
        """Page through the networks."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        found = _FILTER.apply(self._manager.store.view().list(NETWORKS), request.filters)
        page = paging.page(
            found,
            lambda network: (network.spec.annotations.name, network.id),
            size=request.page_size,
            token=request.page_token,
        )
        return control_pb2.ListNetworksResponse(
            networks=page.items, next_page_token=page.next_token, stale=stale
        )

    async def GetNetwork(
        self, request: control_pb2.GetNetworkRequest, _context: Context
    ) -> control_pb2.GetNetworkResponse:
        """Return one network."""
        stale = await self._manager.leader.read_barrier(request.consistency)
        found = lookup.network(self._manager.store.view(), request.network)
        return control_pb2.GetNetworkResponse(network=found, stale=stale)

    async def RemoveNetwork(
        self, request: control_pb2.RemoveNetworkRequest, _context: Context
    ) -> control_pb2.RemoveNetworkResponse:
        """Remove a network that no service uses."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> None:
            network = lookup.network(tx, request.network)
            users = list(tx.find(SERVICES_BY_NETWORK, network.id))
            references.check_unused("network", network.spec.annotations.name, users)
            tx.remove(NETWORKS, network.id)

        await self._manager.store.update(remove)
        return control_pb2.RemoveNetworkResponse()
