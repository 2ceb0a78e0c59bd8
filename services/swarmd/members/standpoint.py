"""What the node is at the moment, for all who decide by it. Kept by the node's life, read by the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from services.swarmd.gateway.routing import Situation, Standing, not_a_manager

if TYPE_CHECKING:
    import grpc.aio

    from services.swarmd.gateway.leadership import Leadership
    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.gateway.ports import NodePlace


class Blocklist(Protocol):
    """Says which certificates are refused; managers have one."""

    def __call__(self, name: str, /) -> bool:
        """Return whether certificates of this name are refused."""
        ...


class Standpoint:
    """The node's place in the swarm. Outside of one everything is empty."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.node_id = ""
        self.cluster_id = ""
        self.standing = Standing.OUTSIDE
        self.nodes: Nodes | None = None
        self.leadership: Leadership | None = None
        """Of a manager that has the swarm's state."""
        self.blocklist: Blocklist | None = None

    def join(self, *, node_id: str, cluster_id: str, standing: Standing, nodes: Nodes) -> None:
        """The node is a member."""
        self.node_id, self.cluster_id = node_id, cluster_id
        self.standing, self.nodes = standing, nodes
        self.poke()

    def stand(self, standing: Standing) -> None:
        """The node is another thing in the same swarm."""
        self.standing = standing
        self.poke()

    def manage(self, leadership: Leadership | None, blocklist: Blocklist | None) -> None:
        """The manager's part runs and has the swarm's state, or with None does not."""
        self.leadership, self.blocklist = leadership, blocklist
        self.poke()

    def leave(self) -> None:
        """The node is no member."""
        self.node_id = self.cluster_id = ""
        self.standing, self.nodes = Standing.OUTSIDE, None
        self.manage(None, None)

    def poke(self) -> None:
        """Tell those who wait that something is different."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return when something is different from what it is now."""
        await self._changed.wait()

    def situation(self) -> Situation:
        """Return what the gateway decides by."""
        if self.standing is Standing.MANAGER and self.leadership is not None:
            return self.leadership.situation()
        return Situation(standing=Standing.STARTING if self.standing is Standing.MANAGER else self.standing)

    def dial(self, place: NodePlace, server_name: str) -> grpc.aio.Channel:
        """Return a channel to a node; see `Nodes.dial`."""
        if self.nodes is None:
            raise not_a_manager(Standing.OUTSIDE)
        return self.nodes.dial(place, server_name)

    def blocked(self, name: str) -> bool:
        """Return whether certificates of this name are refused."""
        return self.blocklist is not None and self.blocklist(name)
