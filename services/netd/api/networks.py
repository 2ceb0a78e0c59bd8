"""NetworkService."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from beeyard.network.v1 import network_pb2 as pb
from beeyard.network.v1 import network_pb2_grpc
from services.kit import errors
from services.kit.events import Event, History, Live, Selection
from services.kit.rpc.moments import nanoseconds
from services.kit.rpc.types import Context
from services.kit.seams import Clock
from services.kit.watch import Resync
from services.netd.api import from_pb, paging, to_pb
from services.netd.core import filters, networks
from services.netd.ledger import Ledger
from services.netd.networks import Networks
from services.netd.sandboxes import Sandboxes

REQUEST_ID_CHARS_MAX = 128


class NetworkService(network_pb2_grpc.NetworkServiceServicer):
    """The node's networks."""

    def __init__(
        self, ledger: Ledger, networks_: Networks, sandboxes: Sandboxes, history: History, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._networks = networks_
        self._sandboxes = sandboxes
        self._history = history
        self._clock = clock

    async def CreateNetwork(
        self, request: pb.CreateNetworkRequest, context: Context
    ) -> pb.CreateNetworkResponse:
        if len(request.request_id) > REQUEST_ID_CHARS_MAX:
            raise errors.Invalid(
                f"request_id: longer than {REQUEST_ID_CHARS_MAX} characters", reason="SPEC_INVALID"
            )
        made = await self._networks.create(from_pb.network_spec(request.spec), request.request_id)
        return pb.CreateNetworkResponse(network=to_pb.network(self._ledger.state, made))

    async def ListNetworks(
        self, request: pb.ListNetworksRequest, context: Context
    ) -> pb.ListNetworksResponse:
        wanted, now, state = from_pb.filters(request.filters), self._ledger.chance().now, self._ledger.state
        filters.check(wanted, filters.LIST_KEYS)
        chosen = [network for network in state.networks.values() if filters.fits(state, network, wanted, now)]
        part, token = paging.page(chosen, lambda network: network.name, request.page_size, request.page_token)
        return pb.ListNetworksResponse(
            networks=[to_pb.network(state, network) for network in part], next_page_token=token
        )

    async def GetNetwork(self, request: pb.GetNetworkRequest, context: Context) -> pb.GetNetworkResponse:
        state = self._ledger.state
        found = networks.find(state, request.network)
        return pb.GetNetworkResponse(network=to_pb.network(state, found, with_endpoints=True))

    async def RemoveNetwork(
        self, request: pb.RemoveNetworkRequest, context: Context
    ) -> pb.RemoveNetworkResponse:
        try:
            removed = await self._networks.remove(request.network)
        except errors.NotFound:
            if request.force:
                return pb.RemoveNetworkResponse(name=request.network)
            raise
        return pb.RemoveNetworkResponse(name=removed.name)

    async def ConnectNetwork(
        self, request: pb.ConnectNetworkRequest, context: Context
    ) -> pb.ConnectNetworkResponse:
        spec = from_pb.endpoint_spec(request.endpoint, network=request.network)
        endpoint = await self._sandboxes.connect(request.sandbox_id, spec)
        return pb.ConnectNetworkResponse(endpoint=to_pb.endpoint(self._ledger.state, endpoint))

    async def DisconnectNetwork(
        self, request: pb.DisconnectNetworkRequest, context: Context
    ) -> pb.DisconnectNetworkResponse:
        try:
            was_there = await self._sandboxes.disconnect(request.sandbox_id, request.network)
        except errors.NotFound:
            if not request.force:
                raise
            was_there = False
        if not was_there and not request.force:
            raise errors.NotFound(
                f"sandbox {request.sandbox_id} is not connected to network {request.network}",
                reason="ENDPOINT_NOT_FOUND",
            )
        return pb.DisconnectNetworkResponse()

    async def PruneNetworks(
        self, request: pb.PruneNetworksRequest, context: Context
    ) -> pb.PruneNetworksResponse:
        removed = await self._networks.prune(from_pb.filters(request.filters))
        return pb.PruneNetworksResponse(deleted=sorted(network.name for network in removed))

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        selection = Selection(
            since_s=nanoseconds(request.since) / 1e9 if request.HasField("since") else None,
            until_s=nanoseconds(request.until) / 1e9 if request.HasField("until") else None,
            filters=from_pb.filters(request.filters),
        )
        async with contextlib.aclosing(self._history.watch(selection, self._clock)) as items:
            async for item in items:
                match item:
                    case Event():
                        yield pb.WatchEventsResponse(event=to_pb.event(item))
                    case Resync():
                        yield pb.WatchEventsResponse(resync=pb.Resync())
                    case Live():
                        if request.mark_live:
                            yield pb.WatchEventsResponse(live=pb.Live())
