"""The way to any node of the swarm, as `NodeDialer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.redialing import RedialingChannel

if TYPE_CHECKING:
    import grpc.aio

    from services.swarmd.gateway.channels import PeerChannels
    from services.swarmd.gateway.ports import NodeLookup


class Nodes:
    """Dials nodes by id.

    Args:
        self_node_id: Id of this node.
        self_address: host:port at which this node reaches its own mTLS listener, whatever others must use.
        channels: The channels.
        lookup: Finds the others; replaced when the node's role changes.
    """

    def __init__(
        self,
        *,
        self_node_id: str,
        self_address: str,
        channels: PeerChannels,
        lookup: NodeLookup | None = None,
    ) -> None:
        self._self_node_id = self_node_id
        self._self_address = self_address
        self._channels = channels
        self._lookup = lookup

    @property
    def lookup(self) -> NodeLookup:
        """Finds the others."""
        if self._lookup is None:
            raise errors.Unavailable("this node is just becoming a member of its swarm", reason="NOT_READY")
        return self._lookup

    @lookup.setter
    def lookup(self, lookup: NodeLookup) -> None:
        self._lookup = lookup

    async def channel(self, node: str) -> grpc.aio.Channel:
        """Return a channel to the node with this id; see `NodeDialer`."""
        if node == self._self_node_id:
            place = NodePlace(node_id=node, address=self._self_address)
        else:
            place = await self.lookup.find(node)
        self.dial_node(place)
        return RedialingChannel(lambda: self.dial_node(place))

    def dial_node(self, place: NodePlace) -> grpc.aio.Channel:
        """Return a channel to a node that was looked up, which must prove to be that node."""
        if not place.address:
            raise unreachable(place, "it has not told its address yet")
        return self.dial(place, place.node_id)

    def dial(self, place: NodePlace, server_name: str) -> grpc.aio.Channel:
        """Return a channel to a place whose certificate must carry `server_name`."""
        address = self._self_address if place.node_id == self._self_node_id else place.address
        return self._channels.channel(address, server_name)


def unreachable(place: NodePlace, why: str) -> errors.Unavailable:
    """Return the error for a node that does not answer."""
    name = f"{place.hostname} ({place.node_id})" if place.hostname else place.node_id
    where = f" at {place.address}" if place.address else ""
    return errors.Unavailable(
        f"node {name}{where} cannot be reached: {why}",
        reason="NODE_UNREACHABLE",
        metadata={"node_id": place.node_id, "hostname": place.hostname, "address": place.address},
    )
