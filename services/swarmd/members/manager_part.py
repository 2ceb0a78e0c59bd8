"""When a member is a manager: starts and stops what makes it one. Listeners, agent and connections are not touched.

* Its certificate is a manager's, raft knows it: the part runs.
* Its certificate is a manager's, raft does not know it: it asks to be taken in, again and again; then the part runs.
* Raft has taken it out: the part ends, log and key are removed, and the first two lines decide anew. (One that users
  want as a worker is refused by raft until its next certificate says so.)
* Its certificate is a worker's: the part ends, log and key are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Final, Protocol

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc, peer_pb2_grpc
from services.kit import backoff, errors, log
from services.swarmd.api.peers import ManagerPeers, WorkerPeers
from services.swarmd.gateway.lookup import RemoteLookup
from services.swarmd.gateway.routing import Standing
from services.swarmd.manager import Manager
from services.swarmd.members import calls, raft
from services.swarmd.members.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from services.kit.tasks import Supervisor
    from services.swarmd.gateway.managers import Managers
    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.gateway.ports import NodePlace
    from services.swarmd.gateway.tls import NodeTls
    from services.swarmd.identity import MemberState
    from services.swarmd.members.founding import Founding, Refounding
    from services.swarmd.members.ground import Ground

_log = log.get(__name__)

JOIN_RAFT_TIMEOUT_S: Final = 8.0
RETRY_BASE_S: Final = 0.2
RETRY_MAX_S: Final = 15.0


class StateKeeper(Protocol):
    """The member, as far as its state goes."""

    state: MemberState

    async def save(self, state: MemberState, /) -> None:
        """Make a change of the state durable."""
        ...

    def node_removed(self, message: str, /) -> None:
        """The swarm does not know this node."""
        ...


class ManagerPart:
    """The manager's part of a member."""

    def __init__(
        self,
        ground: Ground,
        *,
        tls: NodeTls,
        nodes: Nodes,
        managers: Managers,
        member: StateKeeper,
        supervisor: Supervisor,
        beginning: Founding | Refounding | None,
    ) -> None:
        self.manager: Manager | None = None
        """While it runs."""
        self.failure: Exception | None = None
        """Why it does not run although it should."""
        self._ground = ground
        self._tls = tls
        self._nodes = nodes
        self._managers = managers
        self._member = member
        self._supervisor = supervisor
        self._beginning = beginning
        self._part: Part[Manager] | None = None
        self._look = asyncio.Event()
        self._changed = asyncio.Event()

    def look(self) -> None:
        """The certificate is another one."""
        self._look.set()

    @property
    def answers(self) -> bool:
        """Whether the manager answers for the swarm."""
        return self.manager is not None and self._ground.standpoint.leadership is not None

    async def changed(self) -> None:
        """Return when the part has begun, got the swarm's state, ended, or failed."""
        await self._changed.wait()

    def local_leader(self) -> NodePlace | None:
        """Return the leader by this node's own raft."""
        return self.manager.leadership.leader() if self.manager is not None else None

    def self_issue(self, csr_pem: bytes) -> bytes | None:
        """Return a certificate signed with this manager's own copy of the swarm's key; None if it cannot."""
        return (
            self.manager.self_issue(csr_pem, self._ground.clock.now()) if self.manager is not None else None
        )

    async def run(self) -> None:
        """Be a manager whenever the rules say so. Never returns."""
        failures = 0
        while True:
            self._look.clear()
            if not self._tls.is_manager:
                self.failure = None
                self._stand(Standing.WORKER, None)
                await self._forget()
                with self._worker_peers():
                    await self._look.wait()
                continue
            self._stand(Standing.MANAGER, None)
            try:
                with self._worker_peers():
                    part = Part("manager", await self._prepared())
                    manager = await part.start(self._supervisor)
                self._beginning = None
                await self._serve(part, manager)
            except Exception as exc:  # noqa: BLE001 (whatever it is, it is shown and tried again)
                if isinstance(exc, errors.BeeyardError) and exc.reason == "NODE_REMOVED":
                    self._member.node_removed(exc.message)
                self._fail(exc)
                await self._pause(failures)
                failures += 1
            else:
                failures = 0

    async def _prepared(self) -> Callable[[], AbstractAsyncContextManager[Manager]]:
        """Return how to open the manager's part, once raft knows this node."""
        state = self._member.state
        if not state.raft_id:
            response = await self._join_raft()
            state = dataclasses.replace(state, raft_id=response.raft_id)
            await asyncio.to_thread(raft.prepare, self._ground.identity, state)
            await self._member.save(dataclasses.replace(self._member.state, raft_id=response.raft_id))
        return functools.partial(
            Manager.run,
            self._ground,
            state=self._member.state,
            tls=self._tls,
            nodes=self._nodes,
            beginning=self._beginning,
        )

    async def _join_raft(self) -> enrolment_pb2.JoinRaftResponse:
        request = enrolment_pb2.JoinRaftRequest(address=self._member.state.advertise_address)
        return await calls.call_leader(
            self._managers,
            lambda channel: enrolment_pb2_grpc.MembershipServiceStub(channel).JoinRaft(
                request, timeout=JOIN_RAFT_TIMEOUT_S
            ),
            clock=self._ground.clock,
            rng=self._ground.rng,
        )

    async def _serve(self, part: Part[Manager], manager: Manager) -> None:
        """Be a manager until the certificate is a worker's, raft has taken this node out, or the part fails."""
        peers = ManagerPeers(lookup=manager.lookup, images=manager.images)
        self.manager, self.failure = manager, None
        try:
            with self._ground.slots.installed(peer_pb2_grpc.add_PeerServiceServicer_to_server, peers):
                self._poke()
                await _first(part.ended(), manager.removed.wait(), self._demoted(), self._answer_for(manager))
        finally:
            self.manager = None
            self._stand(Standing.MANAGER, None)
            await part.stop()
        if part.failure is not None:
            raise part.failure
        if manager.removed.is_set():
            _log.info("raft_left", node_id=self._member.state.node_id)
            await self._forget()

    async def _answer_for(self, manager: Manager) -> None:
        """Answer for the swarm from the moment on at which its state has arrived. Never returns."""
        await manager.has_state()
        self._nodes.lookup = manager.lookup
        self._stand(Standing.MANAGER, manager)
        await asyncio.Event().wait()

    async def _demoted(self) -> None:
        while self._tls.is_manager:
            self._look.clear()
            await self._look.wait()

    async def _forget(self) -> None:
        """Remove what the node had as a member of raft."""
        state = self._member.state
        if state.raft_id:
            await self._member.save(dataclasses.replace(state, raft_id=0))
            await asyncio.to_thread(self._ground.identity.remove_raft)

    @contextlib.contextmanager
    def _worker_peers(self) -> Iterator[None]:
        """Let another manager answer for the block what only managers know."""
        self._nodes.lookup = RemoteLookup(self._managers, self._ground.clock)
        with self._ground.slots.installed(
            peer_pb2_grpc.add_PeerServiceServicer_to_server, WorkerPeers(self._managers)
        ):
            yield

    def _stand(self, standing: Standing, manager: Manager | None) -> None:
        self._ground.standpoint.stand(standing)
        if manager is None:
            self._ground.standpoint.manage(None, None)
        else:
            self._ground.standpoint.manage(manager.leadership, manager.blocked)
        self._poke()

    def _fail(self, exc: Exception) -> None:
        self.failure = exc
        if isinstance(exc, errors.BeeyardError):
            _log.warning("manager_part_waits", reason=exc.reason, error=exc.message)
            if exc.reason == "SWARM_LOCKED":
                self._ground.standpoint.stand(Standing.LOCKED)
        self._poke()

    async def _pause(self, failures: int) -> None:
        delay_s = backoff.delay(failures, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, rng=self._ground.rng)
        with self._worker_peers():
            await _first(self._ground.clock.sleep(delay_s), self._look.wait())

    def _poke(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return when one of them has; the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
