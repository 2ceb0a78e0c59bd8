"""The life of the node: outside of a swarm, joining, member, and what goes wrong on the way.

One change of life at a time. What a change has done is undone if it fails or the daemon dies in it: state.json, written
last, makes a member (`identity`).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from services.kit import backoff, errors, log, tasks
from services.swarmd.gateway import routing
from services.swarmd.identity import ManagerRecord, MemberState
from services.swarmd.members import addresses, enrol, founding, leaving, outlook
from services.swarmd.members.member import Member, describe
from services.swarmd.members.part import Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from services.kit.tasks import Supervisor
    from services.swarmd.identity import Credentials
    from services.swarmd.manager import Manager
    from services.swarmd.members.founding import Founding, Refounding
    from services.swarmd.members.ground import Ground
    from services.swarmd.members.life import Init, Join, LocalView

T = TypeVar("T")

_log = log.get(__name__)

SETTLE_TIMEOUT_S: Final = 20.0
"""How long joining waits until the node does what it is a member for; it goes on in the background."""
RESTART_BASE_S: Final = 0.5
RESTART_MAX_S: Final = 15.0

JOIN_CONTINUES_MESSAGE: Final = (
    "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the"
    ' "swarmctl info" command to see the current swarm status of your node.'
)


class Node:
    """This node. A listener of the daemon: it begins with `start` and ends with `drain`."""

    def __init__(self, ground: Ground, supervisor: Supervisor) -> None:
        self._ground = ground
        self._supervisor = supervisor
        self._change = asyncio.Lock()
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identity")
        """One thread, so that the membership's file is written in the order in which it was told to."""
        self._state: MemberState | None = None
        self._saved = False
        """Whether the state is on disk: then the node is a member beyond this run of the daemon."""
        self._pending = False
        self._error = ""
        self._member: Member | None = None
        self._context = contextvars.copy_context()
        self._keeper: asyncio.Task[None] | None = None

    # The daemon.

    async def start(self) -> None:
        """Be what the disk says. What is wrong with it is told by `local_view`: the node must stay askable."""
        try:
            state = await self._on_disk(self._ground.identity.load)
            if state is None:
                return
            self._state, self._saved = state, True
            credentials = await self._on_disk(self._ground.identity.load_credentials)
        except errors.FailedPrecondition as exc:
            _log.error("membership_unusable", reason=exc.reason, error=exc.message)
            self._error = exc.message
            return
        if state.removed:
            self._error = state.removed
        else:
            self._keep(state, credentials, None)

    async def drain(self, _grace_s: float) -> None:
        """Stop being a member for this run of the daemon."""
        await self._stop()
        await asyncio.to_thread(self._disk.shutdown)

    # Changes of life.

    async def init(self, wish: Init) -> str:
        """Found a swarm; return the address at which others join. See `InitSwarm`."""
        async with self._change:
            if wish.force_new_cluster and self._saved:
                await self._refound()
                return self.join_address()
            self._require_outside()
            config = self._ground.config
            listen = wish.listen_address or config.listen
            host, port = addresses.parse_listen(listen)
            advertise = addresses.advertised(wish.advertise_address or config.advertise, host, port)
            state, credentials, first = founding.found(
                wish,
                listen=listen,
                enroll=self._enroll_address(wish.listen_address),
                advertise=advertise,
                description=describe(self._ground, advertise)(),
                now=self._ground.clock.now(),
                new_id=self._ground.new_id,
            )
            async with self._beginning(state, credentials):
                member = await self._keep(state, credentials, first)
                await self._manager_runs(member)
            _log.info("swarm_founded", cluster_id=state.cluster_id, node_id=state.node_id, address=advertise)
            return self.join_address()

    async def join(self, wish: Join) -> None:
        """Become a member. See `JoinSwarm`."""
        async with self._change:
            self._require_outside()
            config = self._ground.config
            listen = wish.listen_address or config.listen
            enroll = self._enroll_address(wish.listen_address)
            host, port = addresses.parse_listen(listen)
            for address in (listen, enroll):
                addresses.check_free(address)
            self._pending = True
            try:
                enrolment = await enrol.enrol(wish.remote_addresses, wish.token, wish.availability)
            finally:
                self._pending = False
            towards, _port = addresses.parse(enrolment.through)
            state = MemberState(
                cluster_id=enrolment.cluster_id,
                node_id=enrolment.node_id,
                listen_address=listen,
                enroll_address=enroll,
                advertise_address=addresses.advertised(
                    wish.advertise_address or config.advertise, host, port, towards
                ),
                managers=tuple(
                    ManagerRecord(node_id=place.node_id, address=place.address)
                    for place in enrolment.managers
                ),
            )
            async with self._beginning(state, enrolment.credentials):
                member = await self._keep(state, enrolment.credentials, None)
            _log.info("swarm_joined", cluster_id=state.cluster_id, node_id=state.node_id)
            await self._settled(member)

    async def leave(self, *, force: bool) -> None:
        """Cease to be a member. See `LeaveSwarm`."""
        async with self._change:
            if self._state is None and not self._error:
                raise errors.FailedPrecondition("This node is not part of a swarm", reason="NOT_IN_SWARM")
            member = self._member
            if member is not None:
                await leaving.take_leave(self._ground, member, force=force)
            elif not force and not (self._state and self._state.removed):
                raise errors.FailedPrecondition(
                    f"this node cannot tell its swarm that it leaves ({self._error or 'it is just starting'}): use"
                    " --force to leave without",
                    reason="NODE_NOT_READY",
                )
            await self._end()
            _log.info("swarm_left", forced=force)

    def removed(self, message: str) -> None:
        """Hear that the swarm does not know this node any more."""
        self._supervisor.spawn(self._be_removed(message), "node-removed", critical=False)

    async def save(self, state: MemberState) -> None:
        """Make a change of the member's state durable, unless the node is not fully a member yet."""
        self._state = state
        if self._saved:
            await self._on_disk(lambda: self._ground.identity.save(state))

    # What others ask.

    def manager(self) -> Manager:
        """Return the running manager. Raises NOT_A_MANAGER, NOT_IN_SWARM, NOT_READY."""
        if self._member is not None and self._member.manager is not None and self._member.part.answers:
            return self._member.manager
        if self._member is not None and self._member.tls.is_manager:
            raise routing.not_a_manager(routing.Standing.STARTING)
        raise routing.not_a_manager(self._ground.standpoint.standing)

    def join_address(self) -> str:
        """Return what others give as the address to join: where the enrolment listener is found without being told."""
        assert self._state is not None, "only members are joined"
        host, port = addresses.parse(self._state.advertise_address)
        _enroll_host, enroll_port = addresses.parse_listen(self._state.enroll_address)
        return addresses.render(host, port if enroll_port == port + 1 else enroll_port)

    def local_view(self) -> LocalView:
        """Tell what the node knows of its swarm."""
        return outlook.view(
            state=self._state,
            member=self._member,
            standpoint=self._ground.standpoint,
            pending=self._pending or (self._state is not None and not self._saved),
            error=self._error,
        )

    def facts(self) -> Sequence[tuple[str, str, str]]:
        """Tell people and programs what the node is in its swarm."""
        return outlook.facts(self.local_view())

    def warnings(self) -> Sequence[str]:
        """Tell what is not as it should be."""
        return outlook.warnings(self.local_view(), self._member, self._ground.clock.now())

    # How it is done.

    @contextlib.asynccontextmanager
    async def _beginning(self, state: MemberState, credentials: Credentials) -> AsyncIterator[None]:
        """Let the block make a member, or leave nothing behind."""
        self._pending, self._state, self._error = True, state, ""
        try:
            await self._on_disk(lambda: self._ground.identity.save_credentials(credentials))
            yield
            self._saved = True
            await self.save(self._state)
        except BaseException:
            await self._end()
            raise
        finally:
            self._pending = False

    def _keep(
        self, state: MemberState, credentials: Credentials, first: Founding | Refounding | None
    ) -> asyncio.Future[Member]:
        """Be a member from now on; the result is the member once it runs, or why it did not begin."""
        began: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
        # Not in the context of the call that caused it: what runs from now on is not a part of that call.
        self._keeper = self._context.copy().run(
            self._supervisor.spawn,
            self._keep_member(state, credentials, first, began),
            "node-member",
            critical=False,
        )
        return began

    async def _keep_member(
        self,
        state: MemberState,
        credentials: Credentials,
        first: Founding | Refounding | None,
        began: asyncio.Future[Member],
    ) -> None:
        """Run the member, again after a while if it fails."""
        failures = 0
        while await self._run_member(state, credentials, first, began):
            await self._ground.clock.sleep(
                backoff.delay(failures, base_s=RESTART_BASE_S, max_s=RESTART_MAX_S, rng=self._ground.rng)
            )
            failures += 1
            assert self._state is not None, "a member has a state"
            state, first = self._state, None
            try:
                credentials = await self._on_disk(self._ground.identity.load_credentials)
            except (errors.FailedPrecondition, OSError) as exc:
                self._error = str(exc)  # with what we have, as long as it lasts

    async def _run_member(
        self,
        state: MemberState,
        credentials: Credentials,
        first: Founding | Refounding | None,
        began: asyncio.Future[Member],
    ) -> bool:
        """Run the member until it fails; return whether to run it again."""
        part = Part("member", lambda: Member.run(self._ground, self, state, credentials, beginning=first))
        try:
            self._member = await part.start(self._supervisor)
            self._error = ""
            if not began.done():
                began.set_result(self._member)
            await part.ended()
        except Exception as exc:  # noqa: BLE001 (whoever waits gets it, or it is shown and tried again)
            if not self._saved and not began.done():
                began.set_exception(exc)
        finally:
            self._member = None
            await part.stop()
        if part.failure is not None:
            self._error = str(part.failure)
        return self._saved

    async def _stop(self) -> None:
        if self._keeper is not None:
            await tasks.cancel(self._keeper)
            self._keeper = None

    async def _end(self) -> None:
        """Cease to be a member, on disk too."""
        await self._stop()
        self._state, self._saved, self._error = None, False, ""
        await self._on_disk(self._ground.identity.forget)

    async def _manager_runs(self, member: Member) -> None:
        """Return when the member's manager part runs; raise why it does not."""
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while not member.part.answers:
                    if member.part.failure is not None:
                        raise member.part.failure
                    await member.part.changed()
        except TimeoutError:
            raise errors.Internal("the manager does not come to answer for its swarm") from None

    async def _settled(self, member: Member) -> None:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await member.settled()
        except (TimeoutError, errors.BeeyardError):
            failure = member.part.failure
            raise errors.Unavailable(
                f"{JOIN_CONTINUES_MESSAGE}{f' (so far: {failure})' if failure else ''}",
                reason="JOIN_CONTINUES",
            ) from None

    async def _refound(self) -> None:
        """Let the swarm go on with this manager alone."""
        state = self._state
        if state is None or not state.raft_id or state.removed:
            raise errors.FailedPrecondition(
                "only a manager has the state to make a new cluster of", reason="NOT_A_MANAGER"
            )
        credentials = await self._on_disk(self._ground.identity.load_credentials)
        await self._stop()
        self._error = ""
        member = await self._keep(state, credentials, founding.Refounding())
        await self._manager_runs(member)
        _log.warning("swarm_refounded", cluster_id=state.cluster_id, node_id=state.node_id)

    async def _be_removed(self, message: str) -> None:
        """Stop being a member, and say why from now on; `leave` ends it."""
        async with self._change:
            state, member = self._state, self._member
            if state is None or state.removed:
                return
            _log.warning("removed_from_swarm", node_id=state.node_id, message=message)
            if member is not None and member.agent is not None:
                await member.agent.leave(leaving.AGENT_LEAVE_S)
            await self._stop()
            await self.save(dataclasses.replace(state, removed=message, raft_id=0))
            self._error = message

    def _require_outside(self) -> None:
        if self._state is not None or self._error:
            raise errors.FailedPrecondition(
                'This node is already part of a swarm. Use "swarmctl swarm leave" to leave this swarm and join another'
                " one.",
                reason="ALREADY_IN_SWARM",
            )

    def _enroll_address(self, listen_wish: str) -> str:
        """Return where to listen for machines that join: as set, or beside the address that the user gave."""
        if not listen_wish:
            return self._ground.config.enroll_listen
        host, port = addresses.parse_listen(listen_wish)
        return addresses.render(host, port + 1)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)
