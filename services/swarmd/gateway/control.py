"""The control API on any manager: served here, or passed on to the leader. `routing` decides, this carries it out.

A call is given to another manager a second time only if the first did nothing with it: it could not be reached, it said
that it does not lead, or the call only reads, or carries a request id. Otherwise the caller is told that the outcome is
not known.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import grpc.aio

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.kit.rpc import errors as rpc_errors
from services.swarmd.gateway import authorization, metadata, routing, slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.kit.rpc.types import Context
    from services.swarmd.gateway.managers import Dial
    from services.swarmd.gateway.methods import Method
    from services.swarmd.gateway.ports import CallerPort, NodePlace
    from services.swarmd.gateway.routing import Situation
    from services.swarmd.gateway.slots import Slots

CONNECT_TIMEOUT_S: Final = 2.0
"""How long the way to the leader may take before somebody else is thought of."""
ATTEMPTS_MAX: Final = 8
"""How often a call is decided on anew."""
CHANGE_WAIT_S: Final = 0.5
"""How long to wait for news of the leader before the situation is looked at again."""
LOST_GRACE_S: Final = 1.0
"""How long a leader that was deposed may still take to answer."""


class SituationPort(Protocol):
    """What the node is and knows, and when that changes."""

    def situation(self) -> Situation:
        """Return it as it is now."""
        ...

    async def changed(self) -> None:
        """Return when it is, or may be, another one than at the time of the call."""
        ...


class _LeaderLost(Exception):
    """The leader did not take the call, or what it does with it is not known and does not matter."""


class ControlCalls:
    """Serves the methods of the control API."""

    def __init__(
        self, *, callers: CallerPort, slots: Slots, situation: SituationPort, dial: Dial
    ) -> None:
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
        kind = routing.reach(method)
        request: bytes = await slots.one(requests)
        wanted = metadata.parse(context.invocation_metadata() or ())
        traits = self._traits(method, request)
        for _ in range(ATTEMPTS_MAX):
            decision = routing.decide(
                kind,
                self._situation.situation(),
                stale_read=traits.stale_read,
                passed_on=wanted.hop,
            )
            match decision:
                case routing.Serve():
                    await self._serve_here(method, request, context)
                    return
                case routing.PassOn(leader):
                    try:
                        await self._pass_on(method, request, context, leader, traits, caller.asked_node_id)
                    except _LeaderLost:
                        await self._news()
                    else:
                        return
                case routing.AwaitLeader():
                    await self._news()
                case routing.Refuse(error):
                    raise error
        raise routing.no_leader()

    async def _serve_here(self, method: Method, request: bytes, context: Context) -> None:
        handler = self._slots.handler(method.path)
        if handler is None:
            if self._situation.situation().standing is routing.Standing.MANAGER:
                raise errors.Unsupported(f"{method.path[1:]} is not served by this release")
            raise routing.not_a_manager(self._situation.situation().standing)
        await slots.serve(handler, _just(request), context)

    async def _pass_on(
        self,
        method: Method,
        request: bytes,
        context: Context,
        leader: NodePlace,
        traits: _Traits,
        asked_node: str,
    ) -> None:
        channel = self._dial(leader, leader.node_id)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await channel.channel_ready()
        except TimeoutError:
            raise _LeaderLost from None
        call: Any = channel.unary_unary(method.path)(
            request,
            metadata=metadata.pass_on(
                context.invocation_metadata() or (),
                (metadata.HOP, "1"),
                (metadata.ASKED_NODE, asked_node),
            ),
            timeout=context.time_remaining(),
        )
        try:
            response = await self._outcome(call, leader)
        except _LeaderLost:
            if traits.repeatable:
                raise
            raise errors.Unavailable(
                f"the leader ({leader.node_id}) was lost while it worked on the call: whether it took effect is not"
                " known; look before you repeat it",
                reason="LEADER_LOST",
            ) from None
        except grpc.aio.AioRpcError as exc:
            await self._refused(exc, context)
        else:
            context.set_trailing_metadata(metadata.pass_back(tuple(await call.trailing_metadata())))
            await context.write(response)

    async def _outcome(self, call: Any, leader: NodePlace) -> bytes:
        """Return the leader's response, unless somebody else leads meanwhile or its connection breaks."""
        try:
            async with asyncio.TaskGroup() as group:
                change = group.create_task(self._deposed(leader))
                change.add_done_callback(lambda done: None if done.cancelled() else call.cancel())
                try:
                    response: bytes = await call
                except asyncio.CancelledError:
                    if change.done() and not change.cancelled():
                        raise _LeaderLost from None
                    raise
                except grpc.aio.AioRpcError as exc:
                    if exc.code() is grpc.StatusCode.UNAVAILABLE and not _has_details(exc):
                        raise _LeaderLost from None
                    raise
                finally:
                    change.cancel()
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            call.cancel()
        return response

    async def _deposed(self, leader: NodePlace) -> None:
        """Return some time after `leader` has ceased to lead, by what this node knows."""
        while True:
            present = self._situation.situation().leader
            if present is None or present.node_id != leader.node_id:
                break
            await self._situation.changed()
        await asyncio.sleep(LOST_GRACE_S)

    async def _refused(self, exc: grpc.aio.AioRpcError, context: Context) -> None:
        """End the call as the leader did, unless it turned out not to lead: it has done nothing then."""
        if rpc_errors.from_rpc_error(exc).reason == "NOT_LEADER":
            raise _LeaderLost from None
        trailing = metadata.pass_back(tuple(exc.trailing_metadata() or ()))
        await context.abort(exc.code(), exc.details() or "", trailing)

    async def _news(self) -> None:
        try:
            async with asyncio.timeout(CHANGE_WAIT_S):
                await self._situation.changed()
        except TimeoutError:
            return

    def _traits(self, method: Method, request: bytes) -> _Traits:
        """Look at what of a request bears on where it may go."""
        kind = routing.reach(method)
        consistency: Any = control_pb2.CONSISTENCY_UNSPECIFIED
        request_id = ""
        handler: Any = self._slots.handler(method.path)
        if handler is not None and (method.reads_consistently or method.has_request_id):
            message = handler.request_deserializer(request)
            consistency = getattr(message, "consistency", consistency)
            request_id = getattr(message, "request_id", "")
        return _Traits(
            stale_read=consistency == control_pb2.CONSISTENCY_STALE,
            repeatable=kind is routing.Reach.LEADER_READ or bool(request_id),
        )


class _Traits:
    """What of a request bears on where it may go."""

    __slots__ = ("repeatable", "stale_read")

    def __init__(self, *, stale_read: bool, repeatable: bool) -> None:
        self.stale_read = stale_read
        self.repeatable = repeatable


def _has_details(exc: grpc.aio.AioRpcError) -> bool:
    return any(key == rpc_errors.STATUS_DETAILS for key, _ in exc.trailing_metadata() or ())


async def _just(request: bytes) -> AsyncIterator[bytes]:
    yield request
