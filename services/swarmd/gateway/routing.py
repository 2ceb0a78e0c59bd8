"""Where a call is served. Pure: what the node is and knows goes in, one decision comes out.

Control calls:
* what concerns the asked node itself is served on it;
* what any manager can answer from its own copy of the store (watches, logs) is served on it;
* everything else is served by the leader: a manager that does not lead passes it on once, as it is;
* while there is no leader, reads fall back to the asked manager's own copy, unless they ask not to;
* while one is being elected, both wait for it.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Final, TypeAlias

from services.kit import errors
from services.swarmd.gateway.ports import LEADER_ADDRESS, LEADER_NODE_ID

if TYPE_CHECKING:
    from services.swarmd.gateway.methods import Method
    from services.swarmd.gateway.ports import NodePlace

NOT_IN_SWARM_MESSAGE: Final = (
    'This node is not a swarm manager. Use "swarmctl swarm init" or "swarmctl swarm join" to connect this node to swarm'
    " and try again."
)
NOT_A_MANAGER_MESSAGE: Final = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this"
    " command on a manager node or promote the current node to a manager."
)
NO_LEADER_MESSAGE: Final = (
    "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the"
    " managers are online."
)
LOCKED_MESSAGE: Final = (
    "Swarm is encrypted and needs to be unlocked before it can be used. Please use"
    ' "swarmctl swarm unlock" to unlock it.'
)


class Reach(enum.Enum):
    """Who can serve a control method."""

    NODE = enum.auto()
    """The asked node: it is about that node."""
    MANAGER = enum.auto()
    """Any manager, from its copy of the store."""
    LEADER_READ = enum.auto()
    """The leader; without one, any manager that says that its answer may be old."""
    LEADER = enum.auto()
    """The leader."""


_SWARM: Final = "/beeyard.swarm.v1"
_NODE: Final = frozenset(
    f"{_SWARM}.ClusterService/{name}"
    for name in ("InitSwarm", "JoinSwarm", "LeaveSwarm", "UnlockSwarm", "GetLocalState")
)
_MANAGER: Final = frozenset({f"{_SWARM}.WatchService/Watch", f"{_SWARM}.LogService/GetServiceLogs"})
_MAY_WRITE: Final = frozenset(
    {f"{_SWARM}.ClusterService/GetJoinTokens", f"{_SWARM}.ClusterService/GetUnlockKey"}
)


def reach(method: Method) -> Reach:
    """Return who can serve a control method."""
    if method.path in _NODE:
        return Reach.NODE
    if method.path in _MANAGER:
        return Reach.MANAGER
    reads = method.reads_consistently or method.name.startswith(("Get", "List", "Locate"))
    return Reach.LEADER_READ if reads and method.path not in _MAY_WRITE else Reach.LEADER


class Standing(enum.Enum):
    """What the node is in its swarm."""

    OUTSIDE = enum.auto()
    WORKER = enum.auto()
    LOCKED = enum.auto()
    STARTING = enum.auto()
    """A manager that has not got the swarm's state yet."""
    MANAGER = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a node knows when a control call reaches it."""

    standing: Standing
    leading: bool = False
    leader: NodePlace | None = None
    """Whom it follows; None while there is no leader."""
    may_soon_lead: bool = False
    """There was a leader a moment ago, so that an election may be under way."""


@dataclasses.dataclass(frozen=True, slots=True)
class Serve:
    """Serve the call here."""


@dataclasses.dataclass(frozen=True, slots=True)
class PassOn:
    """Pass the call to the leader."""

    leader: NodePlace


@dataclasses.dataclass(frozen=True, slots=True)
class AwaitLeader:
    """Decide again when the leader is known, or when it is clear that there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this error."""

    error: errors.BeeyardError


Decision: TypeAlias = Serve | PassOn | AwaitLeader | Refuse


def decide(kind: Reach, situation: Situation, *, stale_read: bool, passed_on: bool) -> Decision:
    """Return what to do with a control call.

    Args:
        kind: Who can serve the method.
        situation: What this node is and knows.
        stale_read: The caller is content with this manager's copy.
        passed_on: Another manager took this node for the leader: then nobody else is asked any more.
    """
    if kind is Reach.NODE:
        return Serve()
    if situation.standing is Standing.STARTING:
        return AwaitLeader()
    if situation.standing is not Standing.MANAGER:
        return Refuse(not_a_manager(situation.standing))
    if situation.leading or kind is Reach.MANAGER or (kind is Reach.LEADER_READ and stale_read):
        return Serve()
    if passed_on:
        return Refuse(not_leader(situation.leader))
    if situation.leader is not None:
        return PassOn(situation.leader)
    if situation.may_soon_lead:
        return AwaitLeader()
    return Serve() if kind is Reach.LEADER_READ else Refuse(no_leader())


def not_a_manager(standing: Standing) -> errors.BeeyardError:
    """Return the error of a node that cannot answer for the swarm."""
    match standing:
        case Standing.OUTSIDE:
            return errors.FailedPrecondition(NOT_IN_SWARM_MESSAGE, reason="NOT_IN_SWARM")
        case Standing.LOCKED:
            return errors.FailedPrecondition(LOCKED_MESSAGE, reason="SWARM_LOCKED")
        case Standing.STARTING:
            return errors.Unavailable(
                "this manager has not received the swarm's state yet; try again in a moment",
                reason="NOT_READY",
            )
        case Standing.WORKER | Standing.MANAGER:
            return errors.FailedPrecondition(NOT_A_MANAGER_MESSAGE, reason="NOT_A_MANAGER")


def not_leader(leader: NodePlace | None) -> errors.BeeyardError:
    """Return the error of a manager that was taken for the leader."""
    if leader is None:
        return no_leader()
    return errors.FailedPrecondition(
        f"this manager does not lead; the leader is {leader.node_id} at {leader.address}",
        reason="NOT_LEADER",
        metadata={LEADER_ADDRESS: leader.address, LEADER_NODE_ID: leader.node_id},
    )


def no_leader() -> errors.Unavailable:
    """Return the error of a swarm that cannot decide anything."""
    return errors.Unavailable(NO_LEADER_MESSAGE, reason="NO_LEADER")
