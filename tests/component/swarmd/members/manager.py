"""The listeners of a manager that leads a swarm of one, on a store without raft below it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from beeyard.swarm.v1 import enrolment_pb2_grpc, objects_pb2
from services.kit import system
from services.kit.rpc.server import RpcServer
from services.kit.tasks import Supervisor
from services.swarmd.gateway.callers import Callers
from services.swarmd.gateway.channels import LocalChannels, PeerChannels
from services.swarmd.gateway.control import ControlCalls
from services.swarmd.gateway.front import Front
from services.swarmd.gateway.leadership import Leadership
from services.swarmd.gateway.lookup import StoreLookup
from services.swarmd.gateway.nodes import Nodes
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.proxy import DaemonCalls
from services.swarmd.gateway.routing import Standing
from services.swarmd.gateway.slots import Slots
from services.swarmd.gateway.tls import NodeTls
from services.swarmd.identity import Credentials, MemberState
from services.swarmd.members import cluster, founding
from services.swarmd.members.enrolment import EnrolmentServicer
from services.swarmd.members.life import Init
from services.swarmd.members.standpoint import Standpoint
from services.swarmd.store import tables
from services.swarmd.store.store import Store

NOW = datetime.now(UTC)


class Alone:
    """A proposer that is a whole quorum."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = 0

    async def propose(self, data: bytes) -> object:
        self._index += 1
        return self._store.apply(self._index, data)


@dataclasses.dataclass
class LoneManager:
    """A manager and what a test wants of it."""

    store: Store
    state: MemberState
    credentials: Credentials
    leadership: Leadership
    standpoint: Standpoint

    @property
    def swarm(self) -> objects_pb2.Cluster:
        return cluster.of(self.store.view())

    @property
    def tokens(self) -> objects_pb2.JoinTokens:
        return self.swarm.root_ca.join_tokens

    def nodes(self) -> dict[str, objects_pb2.Node]:
        return {node.id: node for node in self.store.view().list(tables.NODES)}


@contextlib.asynccontextmanager
async def lone_manager(host: str) -> AsyncIterator[LoneManager]:
    """Run one whose listeners are on neighbouring ports of `host`, a loopback address of this test alone."""
    clock = system.SystemClock()
    state, credentials, first = founding.found(
        Init(spec=objects_pb2.ClusterSpec(), availability=objects_pb2.NODE_AVAILABILITY_ACTIVE),
        listen=f"{host}:2377",
        enroll=f"{host}:2378",
        advertise=f"{host}:2377",
        description=objects_pb2.NodeDescription(hostname="m", address=f"{host}:2377"),
        now=NOW,
        new_id=system.new_base36_id,
    )
    store, standpoint, slots = Store(clock), Standpoint(), Slots()
    store.bind(Alone(store))
    tls, callers = NodeTls(credentials), Callers(standpoint)
    await store.update(lambda tx: tx.create(tables.CLUSTERS, first.cluster))
    await store.update(lambda tx: tx.create(tables.NODES, first.node))

    async def read_index() -> None:
        await asyncio.sleep(0)

    leadership = Leadership(
        self_node_id=state.node_id, read_index=read_index, changed=standpoint.poke, clock=clock
    )
    leadership.update(leading=True, leader=NodePlace(node_id=state.node_id, address=f"{host}:2377"))
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(Supervisor())
        channels, local = PeerChannels(tls, supervisor), LocalChannels(Path("/nowhere"), supervisor)
        stack.push_async_callback(channels.close)
        nodes = Nodes(
            self_node_id=state.node_id,
            self_address=f"{host}:2377",
            channels=channels,
            lookup=StoreLookup(store),
        )
        standpoint.join(
            node_id=state.node_id, cluster_id=state.cluster_id, standing=Standing.MANAGER, nodes=nodes
        )
        standpoint.manage(leadership, lambda name: cluster.blocked(store.view(), name, clock.now()))
        slots.install(
            enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server,
            EnrolmentServicer(
                trust_pem=lambda: credentials.trust_pem,
                store=store,
                leader=leadership,
                callers=callers,
                dial=nodes.dial,
                clock=clock,
            ),
        )
        front = Front(
            callers=callers,
            slots=slots,
            situation=standpoint,
            control=ControlCalls(callers=callers, slots=slots, situation=standpoint, dial=nodes.dial),
            daemons=DaemonCalls(callers=callers, slots=slots, local=local, swarm=standpoint, hostname="m"),
        )
        mtls, enrolment = RpcServer("mtls"), RpcServer("enrolment")
        front.serve_mtls(mtls)
        front.serve_enrolment(enrolment)
        mtls.listen_tls(f"{host}:2377", tls.server_credentials(client_certificates=True))
        enrolment.listen_tls(f"{host}:2378", tls.server_credentials(client_certificates=False))
        for server in (mtls, enrolment):
            stack.push_async_callback(server.drain, 0)
            await server.start()
        yield LoneManager(
            store=store,
            state=state,
            credentials=credentials,
            leadership=leadership,
            standpoint=standpoint,
        )
