"""The manager's part of a node: raft, the store on it, and what the leader does.

Open as long as the node is a member of raft. What only the leader runs is started and stopped by the changes of
leadership; the servicers are there all the time, and those of a follower say who leads.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

from beeyard.swarm.v1 import (
    control_pb2_grpc,
    dispatcher_pb2_grpc,
    enrolment_pb2_grpc,
    move_pb2_grpc,
    objects_pb2,
    raft_pb2_grpc,
)
from services.kit import backoff, errors, log
from services.kit.tasks import Supervisor
from services.swarmd.api import ports as api
from services.swarmd.api.configs import ConfigServicer
from services.swarmd.api.execs import ExecServicer
from services.swarmd.api.logs import LogServicer
from services.swarmd.api.moves import MoveServicer
from services.swarmd.api.networks import NetworkServicer
from services.swarmd.api.nodes import NodeServicer
from services.swarmd.api.secrets import SecretServicer
from services.swarmd.api.services import ServiceServicer
from services.swarmd.api.tasks import TaskServicer
from services.swarmd.api.watches import WatchServicer
from services.swarmd.ca import keys
from services.swarmd.control.loop import ControlLoop
from services.swarmd.dispatcher.dispatcher import Dispatcher
from services.swarmd.dispatcher.server import DispatcherServicer
from services.swarmd.gateway.leadership import Leadership
from services.swarmd.gateway.lookup import StoreLookup
from services.swarmd.members import cluster
from services.swarmd.members.enrolment import EnrolmentServicer
from services.swarmd.members.founding import Founding, Refounding, keep_alone
from services.swarmd.members.images import ImageHolders
from services.swarmd.members.membership import MembershipServicer
from services.swarmd.members.part import Part
from services.swarmd.members.raft import Raft
from services.swarmd.members.role_manager import RoleManager
from services.swarmd.move.hands import NodeHands
from services.swarmd.move.movers import Movers
from services.swarmd.move.planner import Planner
from services.swarmd.store import tables
from services.swarmd.store.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.gateway.tls import NodeTls
    from services.swarmd.identity import MemberState
    from services.swarmd.members.ground import Ground
    from services.swarmd.store.transaction import Tx

_log = log.get(__name__)

RESTART_BASE_S: Final = 0.1
RESTART_MAX_S: Final = 5.0
FOUNDING_TIMEOUT_S: Final = 10.0
"""How long the first manager may take to lead itself."""


class Manager:
    """A running manager. Made by `run`."""

    def __init__(
        self, ground: Ground, store: Store, raft: Raft, leadership: Leadership, nodes: Nodes
    ) -> None:
        self.store = store
        self.consensus = raft
        self.leadership = leadership
        self.removed = raft.removed
        """Set when raft has taken this node out for good."""
        self.lookup = StoreLookup(store)
        self.images = ImageHolders(
            self_node_id=leadership.self_node_id, nodes=nodes, local=ground.local, clock=ground.clock
        )
        self._ground = ground

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        ground: Ground,
        *,
        state: MemberState,
        tls: NodeTls,
        nodes: Nodes,
        beginning: Founding | Refounding | None,
    ) -> AsyncIterator[Self]:
        """Be a manager for the length of the block.

        Args:
            ground: The daemon's things.
            state: What the node is a member of; it has a raft id.
            tls: The node's certificate.
            nodes: The way to other nodes.
            beginning: Of a node that founds its swarm, or goes on with it alone: the block is entered when the store
                has what it begins with.

        Raises:
            errors.BeeyardError: Raft's state cannot be used; SWARM_LOCKED; the beginning failed.
        """
        store = Store(ground.clock)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(store.close)
            raft = await stack.enter_async_context(
                Raft.run(ground, state=state, store=store, nodes=nodes, beginning=beginning)
            )
            store.bind(raft)
            leadership = Leadership(
                self_node_id=state.node_id,
                read_index=raft.read_index,
                changed=ground.standpoint.poke,
                clock=ground.clock,
            )
            manager = cls(ground, store, raft, leadership, nodes)
            dispatcher = manager._install(stack, tls, nodes)
            supervisor = await stack.enter_async_context(Supervisor())
            supervisor.spawn(raft.follow(leadership), "manager-raft")
            if beginning is not None:
                await manager._begin(beginning)  # before anybody is told that the swarm does not know him
            supervisor.spawn(manager._keep_leading(supervisor, dispatcher), "manager-leading")
            movers = await stack.enter_async_context(
                Movers.run(
                    ground.directory / "moves.db",
                    planner=Planner(
                        self_node_id=state.node_id, store=store, dialer=nodes, clock=ground.clock
                    ),
                    hands=NodeHands(nodes, store, ground.clock),
                    clock=ground.clock,
                    rng=ground.rng,
                    new_id=ground.new_id,
                    ready=manager.has_state,
                )
            )
            stack.enter_context(
                ground.slots.installed(move_pb2_grpc.add_MoveServiceServicer_to_server, MoveServicer(movers))
            )
            yield manager

    @property
    def raft_term(self) -> int:
        """Raft's term."""
        return self.consensus.term

    @property
    def raft_applied(self) -> int:
        """The raft index up to which the store has everything."""
        return self.consensus.applied

    async def has_state(self) -> None:
        """Return when the swarm's state has arrived in the store."""
        watch = self.store.watch()
        while not self.store.view().list(tables.CLUSTERS):
            await watch.read()

    def blocked(self, name: str) -> bool:
        """Return whether certificates of this name are refused."""
        return cluster.blocked(self.store.view(), name, self._ground.clock.now())

    def self_issue(self, csr_pem: bytes, now: datetime) -> bytes | None:
        """Return a certificate for this node by its own copy of the store; None if that says nothing of it."""
        view = self.store.view()
        node = view.get(tables.NODES, self.leadership.self_node_id)
        if node is None or node.role != objects_pb2.NODE_ROLE_MANAGER or not view.list(tables.CLUSTERS):
            return None
        swarm = cluster.of(view)
        _log.warning("certificate_issued_to_self", node_id=node.id)
        return cluster.root_of(swarm).sign_node(
            keys.public_key_of_request(csr_pem),
            node_id=node.id,
            manager=True,
            cluster_id=swarm.id,
            now=now,
            life=cluster.node_life(swarm),
        )

    # How it begins.

    async def _begin(self, beginning: Founding | Refounding) -> None:
        """Return when the store has what the swarm begins with."""

        def write(tx: Tx) -> None:
            if isinstance(beginning, Refounding):
                keep_alone(tx, self.leadership.self_node_id)
            elif not tx.list(tables.CLUSTERS):
                tx.create(tables.CLUSTERS, beginning.cluster)
                tx.create(tables.NODES, beginning.node)

        try:
            async with asyncio.timeout(FOUNDING_TIMEOUT_S):
                while not self.leadership.leading():
                    await self.leadership.changed()
                await self.store.update(write)
        except TimeoutError:
            raise errors.Internal("the first manager does not come to lead its swarm") from None

    def _install(self, stack: contextlib.AsyncExitStack, tls: NodeTls, nodes: Nodes) -> DispatcherServicer:
        """Let the servicers of a manager answer from now on."""
        ground, leader, callers = self._ground, self.leadership, self._ground.callers
        view = api.Manager(
            store=self.store, leader=leader, callers=callers, clock=ground.clock, new_id=ground.new_id
        )
        dispatcher = DispatcherServicer(callers, leader)
        enrolment = EnrolmentServicer(
            trust_pem=lambda: tls.credentials.trust_pem,
            store=self.store,
            leader=leader,
            callers=callers,
            dial=nodes.dial,
            clock=ground.clock,
        )
        membership = MembershipServicer(
            store=self.store,
            consensus=self.consensus,
            leader=leader,
            callers=callers,
            dial=nodes.dial,
            clock=ground.clock,
        )
        services = control_pb2_grpc
        served: tuple[tuple[Any, Any], ...] = (
            (raft_pb2_grpc.add_RaftServiceServicer_to_server, self.consensus.servicer),
            (dispatcher_pb2_grpc.add_DispatcherServiceServicer_to_server, dispatcher),
            (enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server, enrolment),
            (enrolment_pb2_grpc.add_MembershipServiceServicer_to_server, membership),
            (services.add_NodeServiceServicer_to_server, NodeServicer(view, self.consensus)),
            (services.add_ServiceServiceServicer_to_server, ServiceServicer(view, self.images)),
            (services.add_TaskServiceServicer_to_server, TaskServicer(view)),
            (services.add_NetworkServiceServicer_to_server, NetworkServicer(view)),
            (services.add_SecretServiceServicer_to_server, SecretServicer(view)),
            (services.add_ConfigServiceServicer_to_server, ConfigServicer(view)),
            (services.add_WatchServiceServicer_to_server, WatchServicer(view)),
            (services.add_LogServiceServicer_to_server, LogServicer(view, nodes, ground.rng)),
            (services.add_ExecServiceServicer_to_server, ExecServicer(view)),
        )
        for adder, servicer in served:
            stack.enter_context(ground.slots.installed(adder, servicer))
        return dispatcher

    # What the leader does.

    async def _keep_leading(self, supervisor: Supervisor, dispatcher: DispatcherServicer) -> None:
        """Run what the leader runs, whenever this manager leads."""
        ground, failures = self._ground, 0
        while True:
            while not self.leadership.leading():
                await self.leadership.changed()
            _log.info("leading", node_id=self.leadership.self_node_id, term=self.raft_term)
            part = Part("leader", lambda: self._lead(dispatcher))
            try:
                with contextlib.suppress(Exception):  # the part has logged it
                    await part.start(supervisor)
                    await self._deposed_or_ended(part)
            finally:
                await part.stop()
            if part.failure is None:
                failures = 0
                _log.info("not_leading", node_id=self.leadership.self_node_id)
                continue
            await ground.clock.sleep(
                backoff.delay(failures, base_s=RESTART_BASE_S, max_s=RESTART_MAX_S, rng=ground.rng)
            )
            failures += 1

    @contextlib.asynccontextmanager
    async def _lead(self, servicer: DispatcherServicer) -> AsyncIterator[None]:
        """Run what the leader runs, for the length of the block."""
        ground = self._ground
        async with (
            Dispatcher.lead(
                self.store,
                self_node_id=self.leadership.self_node_id,
                clock=ground.clock,
                rng=ground.rng,
                new_id=ground.new_id,
            ) as dispatcher,
            ControlLoop(self.store, ground.clock, ground.rng, ground.new_id),
            Supervisor() as supervisor,
        ):
            supervisor.spawn(RoleManager(self.store, self.consensus, ground.clock).run(), "leader-roles")
            with servicer.serving(dispatcher):
                yield

    async def _deposed_or_ended(self, part: Part[None]) -> None:
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(part.ended())
            ended.add_done_callback(lambda _task: self._ground.standpoint.poke())
            while self.leadership.leading() and not ended.done():
                await self._ground.standpoint.changed()
            ended.cancel()
