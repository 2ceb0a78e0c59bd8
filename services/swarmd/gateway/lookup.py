"""Finding nodes by what people call them: id, unique prefix of an id, or host name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Protocol

from beeyard.swarm.v1 import objects_pb2, peer_pb2, peer_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.store import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kit.seams import Clock
    from services.swarmd.gateway.ports import ManagerDialer
    from services.swarmd.store.views import Reader, View

CALL_TIMEOUT_S: Final = 3.0
ATTEMPTS_MAX: Final = 3
REMEMBER_S: Final = 10.0
REMEMBERED_MAX: Final = 1024


def node_named(store: Reader, name: str) -> objects_pb2.Node:
    """Return the node that a name means: an exact id before a host name before a prefix.

    Raises:
        errors.NotFound: NODE_NOT_FOUND.
        errors.FailedPrecondition: NODE_AMBIGUOUS.
    """
    exact = store.get(tables.NODES, name)
    if exact is not None:
        return exact
    found = store.find(tables.NODES_BY_HOSTNAME, name.casefold()) if name else ()
    if not found and name:
        found = [node for node in store.list(tables.NODES) if node.id.startswith(name)]
    if not found:
        raise errors.NotFound(
            f"node {name} is not in this swarm", reason="NODE_NOT_FOUND", metadata={"node": name}
        )
    if len(found) > 1:
        ids = ", ".join(sorted(node.id for node in found)[:5])
        raise errors.FailedPrecondition(
            f"node {name} is ambiguous: {len(found)} nodes match ({ids}); give the id",
            reason="NODE_AMBIGUOUS",
            metadata={"node": name},
        )
    return found[0]


def place_of(node: objects_pb2.Node) -> NodePlace:
    """Return where a node is; the address is empty as long as it has not told one."""
    address = node.description.address or node.manager.address
    return NodePlace(node_id=node.id, address=address, hostname=node.description.hostname)


class ViewPort(Protocol):
    """The store of a manager."""

    def view(self) -> View:
        """Return it as it is now."""
        ...


class StoreLookup:
    """`NodeLookup` on a manager."""

    def __init__(self, store: ViewPort) -> None:
        self._store = store

    async def find(self, node: str) -> NodePlace:
        """Return the node; see `NodeLookup`."""
        return place_of(node_named(self._store.view(), node))

    async def all(self) -> Sequence[NodePlace]:
        """Return the nodes that can be asked."""
        return tuple(
            place_of(node)
            for node in self._store.view().list(tables.NODES)
            if node.description.address
            and node.status.state not in {objects_pb2.NODE_STATE_DOWN, objects_pb2.NODE_STATE_DISCONNECTED}
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Remembered:
    place: NodePlace
    until: float


class RemoteLookup:
    """`NodeLookup` on a worker: asks a manager, and remembers the answer for a while."""

    def __init__(self, managers: ManagerDialer, clock: Clock) -> None:
        self._managers = managers
        self._clock = clock
        self._remembered: dict[str, _Remembered] = {}

    async def find(self, node: str) -> NodePlace:
        """Return the node; see `NodeLookup`."""
        now = self._clock.monotonic()
        remembered = self._remembered.get(node)
        if remembered is not None and remembered.until > now:
            return remembered.place
        response = await self._ask(peer_pb2.LocateNodeRequest(node=node))
        place = NodePlace(
            node_id=response.node.node_id, address=response.node.address, hostname=response.node.hostname
        )
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[node] = _Remembered(place, now + REMEMBER_S)
        return place

    async def all(self) -> Sequence[NodePlace]:
        """Refuse: only managers know all nodes."""
        raise errors.Unsupported("a worker does not know all nodes of its swarm")

    async def _ask(self, request: peer_pb2.LocateNodeRequest) -> peer_pb2.LocateNodeResponse:
        failure: errors.BeeyardError = errors.Unavailable("no manager answers", reason="NO_MANAGER")
        for _ in range(ATTEMPTS_MAX):
            connection = await self._managers.connect()
            stub = peer_pb2_grpc.PeerServiceStub(connection.channel)
            try:
                return await client.call(stub.LocateNode(request, timeout=CALL_TIMEOUT_S))
            except errors.Unavailable as exc:
                self._managers.failed(connection)
                failure = exc
        raise failure
