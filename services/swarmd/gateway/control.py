"""The control API on any manager: served here, or passed on to the leader. `routing` decides, this carries it out.

A call is given to another manager a second time only if the first did nothing with it: it could not be reached, it said
that it does not lead, or the call only reads, or carries a request id. Otherwise the caller is told that the outcome is
not known.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import grpc.aio

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.kit.rpc import errors as rpc_errors
from services.swarmd.gateway import authorization, forward, metadata, routing
from services.swarmd.gateway import slots as slots_
from services.swarmd.gateway.channels import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.kit.rpc.types import Context
    from services.swarmd.gateway.managers import Dial
    from services.swarmd.gateway.methods import Method
    from services.swarmd.gateway.ports import Caller, CallerPort, NodePlace
    from services.swarmd.gateway.routing import Situation
    from services.swarmd.gateway.slots import Slots

CONNECT_TIMEOUT_S: Final = 2.0
"""How long the way to the leader may take before somebody else is thought of."""
ATTEMPTS_MAX: Final = 16
"""How often one call is decided on."""
CHANGE_WAIT_S: Final = 0.5
"""How long to wait for news of the leader before the situation is looked at again."""
LOST_GRACE_S: Final = 1.0
"""How long a leader that was deposed may still take to answer."""


NOTHING_DONE: Final = frozenset({"NOT_LEADER", "NO_LEADER", "PROPOSAL_DROPPED"})
"""Reasons with which a manager says that it has not done what was asked, and will not."""


class SituationPort(Protocol):
    """What the node is and knows, and when that changes."""

    def situation(self) -> Situation:
        """Return it as it is now."""
        ...

    async def changed(self) -> None:
        """Return when the leader is another one than at the time of the call."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call that is being served, and what of its request bears on where it may go."""

    method: Method
    request: bytes
    context: Context
    caller: Caller
    passed_on: bool
    stale_read: bool
    repeatable: bool
    """Whether a manager may get it after another one that may have done it."""


class _LeaderGone(Exception):
    """The leader has not done the call, or the call does no harm if it is done twice."""


class ControlCalls:
    """Serves the methods of the control API."""

    def __init__(self, *, callers: CallerPort, slots: Slots, situation: SituationPort, dial: Dial) -> None:
        self._callers = callers
        self._slots = slots
        self._situation = situation
        self._dial = dial

    async def serve(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serve one call.

        Raises:
            errors.BeeyardError: NOT_IN_SWARM, NOT_A_MANAGER, NO_LEADER, NOT_LEADER, LEADER_LOST, or whatever the
                servicer raises.
        """
        caller = self._callers.caller(context)
        authorization.check(caller, method.path)
        call = self._call(method, await slots_.one(requests), context, caller)
        for _ in range(ATTEMPTS_MAX):
            try:
                if await self._attempt(call):
                    return
            except _LeaderGone:
                pass
            await self._news()
        if self._situation.situation().standing is routing.Standing.STARTING:
            raise routing.not_a_manager(routing.Standing.STARTING)
        raise routing.no_leader()

    async def _attempt(self, call: _Call) -> bool:
        """Do what the situation asks for; return whether the call is served."""
        kind = routing.reach(call.method)
        decision = routing.decide(
            kind, self._situation.situation(), stale_read=call.stale_read, passed_on=call.passed_on
        )
        match decision:
            case routing.Serve():
                await self._serve_here(call)
            case routing.PassOn(leader):
                await self._pass_on(call, leader)
            case routing.AwaitLeader():
                return False
            case routing.Refuse(error):
                raise error
        return True

    async def _serve_here(self, call: _Call) -> None:
        handler = self._slots.handler(call.method.path)
        if handler is None:
            standing = self._situation.situation().standing
            if standing is not routing.Standing.MANAGER:
                raise routing.not_a_manager(standing)
            raise errors.Unsupported(f"this release does not serve {call.method.path[1:]}")
        try:
            await slots_.serve(handler, _just(call.request), call.context)
        except (errors.Unavailable, errors.FailedPrecondition) as exc:
            # It led when we decided, and does no more.
            if not call.passed_on and self._may_go_on(call, exc.reason, exc.metadata):
                raise _LeaderGone from None
            raise

    async def _pass_on(self, call: _Call, leader: NodePlace) -> None:
        channel = self._dial(leader, leader.node_id)
        if not await self._reach(leader, channel):
            raise _LeaderGone
        answer = await self._answer(call, leader, channel)
        if answer.lost:
            if call.repeatable:
                raise _LeaderGone
            raise errors.Unavailable(
                f"the leader ({leader.node_id}) was lost while it worked on the call: whether it took effect is not"
                " known; look before you repeat it",
                reason="LEADER_LOST",
            )
        if self._may_go_on(call, answer.reason, answer.metadata):
            raise _LeaderGone
        if answer.code is not grpc.StatusCode.OK:
            await call.context.abort(answer.code, answer.details, answer.trailing)
        call.context.set_trailing_metadata(answer.trailing)
        await call.context.write(answer.response)

    async def _reach(self, leader: NodePlace, channel: grpc.aio.Channel) -> bool:
        """Return whether there is a connection to the leader, before it has ceased to lead."""
        async with asyncio.TaskGroup() as group:
            reach = group.create_task(connected(channel, CONNECT_TIMEOUT_S))
            gone = group.create_task(self._deposed(leader))
            await asyncio.wait([reach, gone], return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            reach.cancel()
        return not reach.cancelled() and reach.result()

    async def _answer(self, call: _Call, leader: NodePlace, channel: grpc.aio.Channel) -> _Answer:
        invocation = call.context.invocation_metadata() or ()
        asked = call.caller.asked_node_id
        make: Any = channel.unary_unary(call.method.path)
        made = make(
            call.request,
            metadata=metadata.pass_on(invocation, (metadata.HOP, "1"), (metadata.ASKED_NODE, asked)),
            timeout=call.context.time_remaining(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._give_up(made, leader))
                answer = await _settled(made)
                watch.cancel()
        finally:
            made.cancel()
        return answer

    async def _give_up(self, made: grpc.aio.Call, leader: NodePlace) -> None:
        """End a call to a leader some time after it has ceased to lead."""
        await self._deposed(leader)
        await asyncio.sleep(LOST_GRACE_S)
        made.cancel()

    async def _deposed(self, leader: NodePlace) -> None:
        """Return when a node does not lead any more, by what this one knows."""
        while (present := self._situation.situation().leader) and present.node_id == leader.node_id:
            await self._situation.changed()

    def _may_go_on(self, call: _Call, reason: str, details: Mapping[str, str]) -> bool:
        """Return whether a call that was refused may be given to the next leader, if one can be hoped for."""
        situation = self._situation.situation()
        if situation.leader is None and not situation.leading and not situation.may_soon_lead:
            return False
        if details.get("outcome") == "unknown":
            return call.repeatable
        return reason in NOTHING_DONE

    async def _news(self) -> None:
        try:
            async with asyncio.timeout(CHANGE_WAIT_S):
                await self._situation.changed()
        except TimeoutError:
            return

    def _call(self, method: Method, request: bytes, context: Context, caller: Caller) -> _Call:
        consistency: Any = control_pb2.CONSISTENCY_UNSPECIFIED
        request_id = ""
        handler: Any = self._slots.handler(method.path)
        if handler is not None and (method.reads_consistently or method.takes_request_id):
            message = slots_.deserialized(handler, request)
            consistency = getattr(message, "consistency", consistency)
            request_id = getattr(message, "request_id", "")
        return _Call(
            method=method,
            request=request,
            context=context,
            caller=caller,
            passed_on=metadata.parse(context.invocation_metadata() or ()).hop,
            stale_read=consistency == control_pb2.CONSISTENCY_STALE,
            repeatable=bool(request_id) or routing.reach(method) is routing.Reach.LEADER_READ,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """How a call that was passed on ended."""

    code: grpc.StatusCode
    response: bytes = b""
    details: str = ""
    trailing: metadata.Metadata = ()
    reason: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lost: bool = False


async def _settled(made: Any) -> _Answer:
    """Return how a call ended."""
    try:
        response = await made
        return _Answer(
            code=grpc.StatusCode.OK,
            response=response,
            trailing=metadata.pass_back(metadata.pairs(await made.trailing_metadata())),
        )
    except grpc.aio.AioRpcError as exc:
        trailing = metadata.pass_back(metadata.pairs(exc.trailing_metadata()))
        error = rpc_errors.from_rpc_error(exc)
        return _Answer(
            code=exc.code(),
            details=exc.details() or "",
            trailing=trailing,
            reason=error.reason,
            metadata=error.metadata,
            lost=forward.is_of_transport(exc.code(), trailing),
        )
    except asyncio.CancelledError:
        if forward.task_is_cancelled():
            raise
        return _Answer(code=grpc.StatusCode.UNAVAILABLE, lost=True)


async def _just(request: bytes) -> AsyncIterator[bytes]:
    yield request
