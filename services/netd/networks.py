"""The node's networks: decided, recorded, made so."""

from __future__ import annotations

from services.kit import log
from services.netd.core import filters as selection
from services.netd.core import networks
from services.netd.core.networks import Settings
from services.netd.core.state import RemoveNetwork, State
from services.netd.events import Action, Events
from services.netd.ledger import Ledger
from services.netd.model.network import Network, NetworkSpec
from services.netd.reconcile import Reconciler, log_failures

_log = log.get(__name__)


class Networks:
    """Makes and removes networks.

    Args:
        ledger: What is recorded.
        reconciler: Makes the kernel match.
        settings: What new networks are made with.
        events: Tells of them.
    """

    def __init__(self, ledger: Ledger, reconciler: Reconciler, settings: Settings, events: Events) -> None:
        self._ledger = ledger
        self._reconciler = reconciler
        self._settings = settings
        self._events = events

    async def create(self, spec: NetworkSpec, request_id: str = "") -> Network:
        """Make a network; the same `request_id` again returns the one that it made."""
        return await self._ledger.change(lambda: self._create(spec, request_id))

    async def remove(self, reference: str) -> Network:
        """Remove a network without endpoints; return what it was."""
        return await self._ledger.change(lambda: self._remove(networks.find(self._ledger.state, reference)))

    async def prune(self, filters: selection.Filters) -> list[Network]:
        """Remove the networks that nobody uses; return what they were."""
        selection.check(filters, selection.PRUNE_KEYS)
        removed = await self._ledger.change(lambda: self._prune(filters))
        self._events.pruned()
        return removed

    async def _create(self, spec: NetworkSpec, request_id: str) -> Network:
        state, chance = self._ledger.state, self._ledger.chance()
        if request_id:
            for network in state.networks.values():
                if network.request_id == request_id:
                    return network
        change = networks.plan_create(
            state,
            spec,
            settings=self._settings,
            host=await self._reconciler.survey(own_links(state)),
            network_id=chance.new_id(),
            now=chance.now,
            request_id=request_id,
        )
        network = change.network
        await self._ledger.record(change)
        error = await self._reconciler.match(
            self._ledger.state,
            lambda state: self._reconciler.network(state, network.id, network.link),
            subjects=("table", f"link {network.link}"),
            what=f"network {network.name} cannot be made",
        )
        if error is not None:
            await self._ledger.record(RemoveNetwork(network_id=network.id))
            log_failures(await self._reconciler.network(self._ledger.state, network.id, network.link))
            raise error
        _log.info("network_created", network=network.name, id=network.id[:12], link=network.link)
        self._events.tell(network, Action.CREATE)
        return network

    async def _remove(self, network: Network) -> Network:
        networks.check_removable(self._ledger.state, network)
        await self._ledger.record(RemoveNetwork(network_id=network.id))
        # What the kernel does not let go now, the next periodic pass removes: for the caller it is gone.
        log_failures(await self._reconciler.network(self._ledger.state, network.id, network.link))
        _log.info("network_removed", network=network.name, id=network.id[:12])
        self._events.tell(network, Action.DESTROY)
        return network

    async def _prune(self, filters: selection.Filters) -> list[Network]:
        state, now = self._ledger.state, self._ledger.chance().now
        unused = [
            network
            for network in state.networks.values()
            if not network.predefined
            and network.id in state.pools
            and state.pools[network.id].used_count == 0
            and selection.fits(state, network, filters, now)
        ]
        return [await self._remove(network) for network in unused]


def own_links(state: State) -> list[str]:
    """Return the names of the node's links that are ours."""
    bridges = [network.link for network in state.networks.values() if network.link]
    return [*bridges, *(end.host_link for sandbox in state.sandboxes.values() for end in sandbox.endpoints)]
