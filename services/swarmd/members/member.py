"""A node while it is a member of a swarm: listeners, agent, certificate, and where it is one, the manager's part.

What runs at what time:
* the listeners, the agent and the keeper of the certificate as long as the node is a member;
* the manager's part as long as its certificate is a manager's (`manager_part` has the rules).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final, Protocol, Self

from beeyard.swarm.v1 import objects_pb2
from services.kit import backoff, errors, log
from services.kit.rpc.server import RpcServer
from services.kit.tasks import Supervisor
from services.swarmd.agent.agent import Agent
from services.swarmd.agent.description import Description
from services.swarmd.gateway.channels import PeerChannels
from services.swarmd.gateway.managers import Managers
from services.swarmd.gateway.methods import Daemon
from services.swarmd.gateway.nodes import Nodes
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.routing import Standing
from services.swarmd.gateway.tls import NodeTls
from services.swarmd.identity import ManagerRecord
from services.swarmd.members import addresses
from services.swarmd.members.certificate import CertificateKeeper
from services.swarmd.members.manager_part import ManagerPart
from services.swarmd.members.part import Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from beeyard.swarm.v1 import dispatcher_pb2
    from services.swarmd.identity import Credentials, MemberState
    from services.swarmd.manager import Manager
    from services.swarmd.members.founding import Founding, Refounding
    from services.swarmd.members.ground import Ground

_log = log.get(__name__)

RESTART_BASE_S: Final = 0.5
RESTART_MAX_S: Final = 15.0
DRAIN_S: Final = 2.0
"""How long calls of others may go on when the node ceases to be a member."""


class MemberOwner(Protocol):
    """Who keeps a member's state and hears of its end. `node.Node` is it."""

    async def save(self, state: MemberState, /) -> None:
        """Make the state durable."""
        ...

    def removed(self, message: str, /) -> None:
        """The swarm does not know the node any more. Never waits."""
        ...


class Member:
    """A running member. Made by `run`."""

    def __init__(
        self,
        ground: Ground,
        owner: MemberOwner,
        state: MemberState,
        credentials: Credentials,
        supervisors: tuple[Supervisor, Supervisor],
        beginning: Founding | Refounding | None,
    ) -> None:
        self.state = state
        self.tls = NodeTls(credentials)
        self.agent: Agent | None = None
        """While it runs."""
        self._ground = ground
        self._owner = owner
        self._supervisor, retired = supervisors
        self._session_seen = asyncio.Event()
        self._managers_changed = asyncio.Event()
        self._listeners = (RpcServer("mtls"), RpcServer("enrolment"))
        self.channels = PeerChannels(self.tls, retired)
        host, port = addresses.parse_listen(state.listen_address)
        self.nodes = Nodes(
            self_node_id=state.node_id, self_address=addresses.local(host, port), channels=self.channels
        )
        self.managers = Managers(
            [NodePlace(node_id=it.node_id, address=it.address) for it in state.managers],
            dial=self.nodes.dial,
            local_leader=lambda: self.part.local_leader(),  # noqa: PLW0108 (it is made below)
            changed=lambda _places: self._managers_changed.set(),
            clock=ground.clock,
            rng=ground.rng,
        )
        self.part = ManagerPart(
            ground,
            tls=self.tls,
            nodes=self.nodes,
            managers=self.managers,
            member=self,
            supervisor=self._supervisor,
            beginning=beginning,
        )
        self._keeper = CertificateKeeper(
            tls=self.tls,
            identity=ground.identity,
            managers=self.managers,
            self_issue=self.part.self_issue,
            replaced=self.part.look,
            removed=self.node_removed,
            clock=ground.clock,
            rng=ground.rng,
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        ground: Ground,
        owner: MemberOwner,
        state: MemberState,
        credentials: Credentials,
        *,
        beginning: Founding | Refounding | None = None,
    ) -> AsyncIterator[Self]:
        """Be a member for the length of the block, which is entered when the listeners listen.

        Args:
            ground: The daemon's things.
            owner: Keeps the state.
            state: What the node is a member of.
            credentials: Its certificate.
            beginning: Of a node that founds the swarm, or finds it again alone: what it begins with.

        Raises:
            errors.FailedPrecondition: ADDRESS_IN_USE.
        """
        async with Supervisor() as retired:
            supervisor = Supervisor()
            member = cls(ground, owner, state, credentials, (supervisor, retired), beginning)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(member.channels.close)
                stack.callback(ground.standpoint.leave)
                ground.standpoint.join(
                    node_id=state.node_id,
                    cluster_id=state.cluster_id,
                    standing=Standing.MANAGER if member.tls.is_manager else Standing.WORKER,
                    nodes=member.nodes,
                )
                stack.push_async_callback(member._drain)
                await member._listen()
                async with supervisor:
                    supervisor.spawn(member.part.run(), "member-manager-part")
                    supervisor.spawn(member._keep_agent(), "member-agent")
                    supervisor.spawn(member._keep_certificate(), "member-certificate")
                    supervisor.spawn(member._keep_managers(), "member-managers")
                    yield member

    @property
    def manager(self) -> Manager | None:
        """The manager's part, while it runs."""
        return self.part.manager

    async def settled(self) -> None:
        """Return when the node does what it is a member for: it has a session, and its manager's part runs.

        Raises:
            errors.BeeyardError: Something that does not pass by itself is in the way of its being a manager.
        """
        while self.tls.is_manager and not self.part.answers:
            failure = self.part.failure
            if isinstance(failure, errors.BeeyardError) and not failure.retryable:
                raise failure
            await self.part.changed()
        await self._session_seen.wait()

    async def save(self, state: MemberState) -> None:
        """Make a change of the state durable."""
        self.state = state
        await self._owner.save(state)

    # What the agent hears (`MembershipPort`).

    def session_message(self, message: dispatcher_pb2.OpenSessionResponse) -> None:
        """Take what the leader says of this node and of the managers."""
        self.managers.replace(NodePlace(node_id=it.node_id, address=it.address) for it in message.managers)
        self._keeper.want_role(manager=message.node.role == objects_pb2.NODE_ROLE_MANAGER)
        self._session_seen.set()

    def node_removed(self, message: str) -> None:
        """The swarm does not know this node."""
        self._owner.removed(message)

    # What runs.

    async def _listen(self) -> None:
        mtls, enrolment = self._listeners
        self._ground.front.serve_mtls(mtls)
        mtls.listen_tls(self.state.listen_address, self.tls.server_credentials(client_certificates=True))
        self._ground.front.serve_enrolment(enrolment)
        enrolment.listen_tls(
            self.state.enroll_address, self.tls.server_credentials(client_certificates=False)
        )
        for listener in self._listeners:
            await listener.start()

    async def _drain(self) -> None:
        await asyncio.gather(*(listener.drain(DRAIN_S) for listener in self._listeners))

    async def _keep_agent(self) -> None:
        """Run the agent, again after a while if it fails."""
        ground, failures = self._ground, 0
        while True:
            part = Part(
                "agent",
                lambda: Agent.run(
                    ground.directory / "agent",
                    containerd=ground.local.lasting(Daemon.CONTAINERD),
                    imaged=ground.local.lasting(Daemon.IMAGED),
                    managers=self.managers,
                    membership=self,
                    describe=describe(ground, self.state.advertise_address),
                    clock=ground.clock,
                    rng=ground.rng,
                ),
            )
            try:
                with contextlib.suppress(Exception):  # the part has logged it
                    self.agent = await part.start(self._supervisor)
                    await part.ended()
            finally:
                self.agent = None
                await part.stop()
            await ground.clock.sleep(
                backoff.delay(failures, base_s=RESTART_BASE_S, max_s=RESTART_MAX_S, rng=ground.rng)
            )
            failures += 1

    async def _keep_certificate(self) -> None:
        await self._keeper.run()
        await asyncio.Event().wait()  # removed: the owner is about to end us

    async def _keep_managers(self) -> None:
        """Keep what is known of the managers where the next start finds it."""
        while True:
            await self._managers_changed.wait()
            self._managers_changed.clear()
            records = tuple(
                ManagerRecord(node_id=place.node_id, address=place.address) for place in self.managers.places
            )
            if records != self.state.managers:
                await self.save(dataclasses.replace(self.state, managers=records))


def describe(ground: Ground, advertise_address: str) -> Description:
    """Return what tells the swarm of this node."""
    return Description(
        hostname=ground.hostname,
        engine_version=ground.version,
        engine_labels=ground.config.labels,
        address=advertise_address,
    )
