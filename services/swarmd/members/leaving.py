"""How a member leaves in order: out of raft, its tasks stopped, its node marked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc
from services.kit import errors, log
from services.swarmd.members import calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc.aio

    from services.swarmd.members.ground import Ground
    from services.swarmd.members.member import Member

T = TypeVar("T")

_log = log.get(__name__)

AGENT_LEAVE_S: Final = 30.0
"""How long the node's tasks may take to stop."""
RESIGN_TIMEOUT_S: Final = 3.0
LEAVE_RAFT_TIMEOUT_S: Final = 12.0
RESIGN_ATTEMPTS_MAX: Final = 3
FORCED_ATTEMPTS_MAX: Final = 2
"""How often the others are asked by a node that leaves whatever they say."""

LAST_MANAGER_MESSAGE: Final = (
    "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager"
    " erases all current state of the swarm. Use `--force` to ignore this message."
)


async def take_leave(ground: Ground, member: Member, *, force: bool) -> None:
    """Tell the swarm that the node leaves, and stop the node's tasks.

    Raises:
        errors.FailedPrecondition: LAST_MANAGER, QUORUM_AT_RISK: not with `force`.
        errors.Unavailable: NO_LEADER: not with `force`.
    """
    if member.tls.is_manager:
        await _leave_raft(ground, member, force=force)
    if member.agent is not None:
        await member.agent.leave(AGENT_LEAVE_S)
    request = enrolment_pb2.ResignMembershipRequest()
    with contextlib.suppress(errors.BeeyardError):  # the swarm finds out by itself
        await _call_leader(
            ground,
            member,
            lambda channel: enrolment_pb2_grpc.EnrolmentServiceStub(channel).ResignMembership(
                request, timeout=RESIGN_TIMEOUT_S
            ),
            attempts_max=RESIGN_ATTEMPTS_MAX,
        )


async def _leave_raft(ground: Ground, member: Member, *, force: bool) -> None:
    manager = member.manager
    if manager is not None:
        others = [it for it in manager.consensus.members() if it.node_id != member.state.node_id and it.voter]
        if not others:
            if not force:
                raise errors.FailedPrecondition(LAST_MANAGER_MESSAGE, reason="LAST_MANAGER")
            return
    request = enrolment_pb2.LeaveRaftRequest(force=force)
    try:
        await _call_leader(
            ground,
            member,
            lambda channel: enrolment_pb2_grpc.MembershipServiceStub(channel).LeaveRaft(
                request, timeout=LEAVE_RAFT_TIMEOUT_S
            ),
            attempts_max=FORCED_ATTEMPTS_MAX if force else calls.ATTEMPTS_MAX,
        )
    except errors.BeeyardError as exc:
        if not member.tls.is_manager:
            return  # done: its certificate is a worker's already, with which one cannot ask again
        if not force:
            raise
        _log.warning("left_without_the_others", reason=exc.reason, error=exc.message)


async def _call_leader(
    ground: Ground,
    member: Member,
    make_call: Callable[[grpc.aio.Channel], Awaitable[T]],
    *,
    attempts_max: int,
) -> T:
    return await calls.call_leader(
        member.managers, make_call, clock=ground.clock, rng=ground.rng, attempts_max=attempts_max
    )
