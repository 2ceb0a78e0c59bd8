"""A node as far as its gateway goes: listeners, and an engine behind them. Real sockets, real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from beeyard.container.v1 import container_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.tasks import Supervisor
from services.swarmd.ca import authority, keys
from services.swarmd.ca.authority import Authority
from services.swarmd.gateway.callers import Callers
from services.swarmd.gateway.channels import LocalChannels, PeerChannels
from services.swarmd.gateway.control import ControlCalls
from services.swarmd.gateway.front import Front
from services.swarmd.gateway.nodes import Nodes
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.proxy import DaemonCalls
from services.swarmd.gateway.routing import Situation, Standing
from services.swarmd.gateway.slots import Slots
from services.swarmd.gateway.tls import NodeTls
from services.swarmd.identity import Credentials
from tests.component.swarmd.gateway.engine import Engine

NOW = datetime.now(UTC)
CLUSTER = "cluster1"


def credentials(root: Authority, node_id: str, *, manager: bool, cluster_id: str = CLUSTER) -> Credentials:
    key = keys.new()
    pem = root.sign_node(key.public_key(), node_id=node_id, manager=manager, cluster_id=cluster_id, now=NOW)
    return Credentials(trust_pem=root.root_pem, certificate_pem=pem, key_pem=keys.to_pem(key))


def client_credentials(root: Authority, name: str, *, cluster_id: str = CLUSTER) -> Credentials:
    key = keys.new()
    pem = root.sign_client(key.public_key(), name=name, cluster_id=cluster_id, now=NOW)
    return Credentials(trust_pem=root.root_pem, certificate_pem=pem, key_pem=keys.to_pem(key))


class Directory:
    """All nodes of a test, as a `NodeLookup`."""

    def __init__(self) -> None:
        self.places: list[NodePlace] = []

    async def find(self, node: str) -> NodePlace:
        for place in self.places:
            if node in {place.node_id, place.hostname}:
                return place
        raise errors.NotFound(f"node {node} is not in this swarm", reason="NODE_NOT_FOUND")

    async def all(self) -> Sequence[NodePlace]:
        return tuple(self.places)


class Standpoint:
    """What a node is and knows; tests set it."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._changed = asyncio.Event()

    def situation(self) -> Situation:
        return self._situation

    def set(self, situation: Situation) -> None:
        self._situation = situation
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        await self._changed.wait()


@dataclasses.dataclass
class Membership:
    """A node's place in the swarm."""

    node_id: str
    cluster_id: str
    nodes: Nodes | None = None
    refused: set[str] = dataclasses.field(default_factory=set)

    def blocked(self, name: str) -> bool:
        return name in self.refused


@dataclasses.dataclass
class GateNode:
    """One node."""

    membership: Membership
    engine: Engine
    standpoint: Standpoint
    slots: Slots
    tls: NodeTls
    place: NodePlace
    run: Path
    local: grpc.aio.Channel

    def dial(self, other: GateNode, own: Credentials | None = None, name: str = "") -> grpc.aio.Channel:
        """Dial another node's mTLS listener, with other credentials than one's own if so wished."""
        tls = NodeTls(own) if own else self.tls
        return client.channel_tls(
            other.place.address, tls.channel_credentials(), name or other.membership.node_id
        )


@contextlib.asynccontextmanager
async def gate_node(
    run: Path, root: Authority, directory: Directory, node_id: str, *, manager: bool = True
) -> AsyncIterator[GateNode]:
    """Run a node with the host name "host-<id>"."""
    run.mkdir()
    hostname = f"host-{node_id}"
    engine = Engine(node_id)
    containerd = RpcServer(f"containerd-{node_id}")
    containerd.add(container_pb2_grpc.add_ContainerServiceServicer_to_server, engine)
    containerd.listen_unix(run / "containerd.sock")
    membership = Membership(node_id=node_id, cluster_id=CLUSTER)
    standpoint = Standpoint(Situation(standing=Standing.MANAGER if manager else Standing.WORKER))
    slots, callers = Slots(), Callers(membership)
    tls = NodeTls(credentials(root, node_id, manager=manager))
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(Supervisor())
        local = LocalChannels(run, supervisor)
        channels = PeerChannels(tls, supervisor)
        stack.push_async_callback(channels.close)
        stack.push_async_callback(local.close)
        nodes = Nodes(self_node_id=node_id, self_address="", channels=channels, lookup=directory)
        membership.nodes = nodes
        front = Front(
            callers=callers,
            slots=slots,
            situation=standpoint,
            control=ControlCalls(callers=callers, slots=slots, situation=standpoint, dial=nodes.dial),
            daemons=DaemonCalls(
                callers=callers, slots=slots, local=local, swarm=membership, hostname=hostname
            ),
        )
        servers = [containerd, RpcServer(f"local-{node_id}"), RpcServer(f"mtls-{node_id}")]
        front.serve_local(servers[1])
        servers[1].listen_unix(run / "swarmd.sock")
        front.serve_mtls(servers[2])
        servers[2].listen_tls("127.0.0.1:0", tls.server_credentials(client_certificates=True))
        for server in servers:
            stack.push_async_callback(server.drain, 0)
            await server.start()
        address = f"127.0.0.1:{servers[2].ports['127.0.0.1:0']}"
        place = NodePlace(node_id=node_id, address=address, hostname=hostname)
        directory.places.append(place)
        to_self = client.channel_unix(run / "swarmd.sock")
        stack.push_async_callback(to_self.close)
        yield GateNode(
            membership=membership,
            engine=engine,
            standpoint=standpoint,
            slots=slots,
            tls=tls,
            place=place,
            run=run,
            local=to_self,
        )


def new_root() -> Authority:
    return authority.new(NOW)
