"""What the node gives to the parts that run in it: who leads, how to reach a manager, how to reach a node.

The dispatcher, the agent, the control API and raft's transport are written against these protocols;
`services.swarmd.members` provides them. Channels that a dialer returns are shared: closing one does nothing, and each
call on it goes over whatever connection is the right one then. What changes is where a node is: so nobody keeps a
channel longer than for one piece of work.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from beeyard.swarm.v1 import control_pb2, dispatcher_pb2
    from services.kit.rpc.types import Context

LEADER_ADDRESS = "leader_address"
"""Metadata key of a NOT_LEADER error: host:port of the leader, absent when none is known."""
LEADER_NODE_ID = "leader_node_id"
"""Metadata key of a NOT_LEADER error: the id of the leader's node."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """Where a node's swarmd is."""

    node_id: str
    address: str
    """host:port of its mTLS listener."""
    hostname: str = ""


class CallerKind(enum.Enum):
    """What a caller proved itself to be."""

    LOCAL = "local"
    """Somebody on the unix socket: root or the group of this node's administrators."""
    MANAGER = "swarm-manager"
    WORKER = "swarm-worker"
    CLIENT = "swarm-client"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a call: from the certificate, never from what the request says."""

    kind: CallerKind
    node_id: str
    """Id of the caller's node; of LOCAL callers this node's (empty outside of a swarm), of clients their name."""
    asked_node_id: str
    """Id of the node that the user asked: this one, or the follower that forwarded the call. What "self" means."""


class CallerPort(Protocol):
    """Tells who makes a call. `services.swarmd.gateway.callers` has the implementation."""

    def caller(self, context: Context, /) -> Caller:
        """Return the caller of the call that `context` belongs to. Raises PermissionDenied (CERTIFICATE_INVALID)."""
        ...


class LeaderPort(Protocol):
    """Raft's leadership as a manager sees it."""

    @property
    def self_node_id(self) -> str:
        """Id of this node."""
        ...

    def leading(self) -> bool:
        """Return whether this node leads and has applied everything that was committed before its term."""
        ...

    def leader(self) -> NodePlace | None:
        """Return the leader that this node follows (or is); None while there is none."""
        ...

    def require_leading(self) -> None:
        """Return if `leading()`.

        Raises:
            errors.FailedPrecondition: NOT_LEADER with the metadata `leader_node_id` and `leader_address`.
            errors.Unavailable: NO_LEADER: there is none.
        """
        ...

    async def read_barrier(self, consistency: control_pb2.Consistency.ValueType, /) -> bool:
        """Return when the local store may be read as `consistency` wants it, and whether the answer is stale.

        On the leader a linearizable read waits for one round of heartbeats (ReadIndex). A follower sees only reads that
        ask for CONSISTENCY_STALE and, while there is no leader, those that may fall back to it: the others were
        forwarded before a servicer saw them.

        Raises:
            errors.Unavailable: NO_LEADER, for CONSISTENCY_LINEARIZABLE only.
        """
        ...


class NodeDialer(Protocol):
    """Reaches the swarmd of any node of the swarm, and behind it, by the gateway, that node's daemons."""

    async def channel(self, node: str, /) -> grpc.aio.Channel:
        """Return a channel to the node with this id (this node's own swarmd included).

        Calls of `beeyard.{image,container,network}.v1` on it are served by that node's daemons. The channel may not be
        connected yet: a call on it fails at once with UNAVAILABLE if the node cannot be reached.

        Raises:
            errors.NotFound: NODE_NOT_FOUND.
            errors.Unavailable: NODE_UNREACHABLE: its address is not known; or no manager can be asked for it.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ManagerConnection:
    """A channel to one manager."""

    place: NodePlace
    """`node_id` is empty where only the address is known."""
    channel: grpc.aio.Channel


class ManagerDialer(Protocol):
    """Finds a manager to talk to, the leader first. For what every member node does: session, renewal, questions.

    The use is a loop with backoff: `connect`, call, and tell how it went: `leader_hint` with the metadata of
    NOT_LEADER, `failed` when the manager did not answer. The next `connect` takes that into account.
    """

    async def connect(self) -> ManagerConnection:
        """Return the manager to try now: the leader as far as it is known, else one of the others in turn.

        Raises:
            errors.Unavailable: NO_MANAGER: no manager is known.
        """
        ...

    def leader_hint(self, address: str, node_id: str = "", /) -> None:
        """Remember who said to lead; empty address: forget whom we took for the leader."""
        ...

    def failed(self, connection: ManagerConnection, /) -> None:
        """Remember that this manager did not answer, so that others come first for a while."""
        ...


class MembershipPort(Protocol):
    """Takes what the agent learns from its session with the leader: role changes, managers, roots to trust."""

    def session_message(self, message: dispatcher_pb2.OpenSessionResponse, /) -> None:
        """Take one message of the session. Never waits; what follows from it happens in the node's own time."""
        ...

    def node_removed(self, message: str, /) -> None:
        """The swarm does not know this node any more (NODE_REMOVED). The agent is stopped soon after."""
        ...


class NodeLookup(Protocol):
    """Finds nodes by what users call them. On managers the store answers, on workers a manager."""

    async def find(self, node: str, /) -> NodePlace:
        """Return the one node with this id, host name or unique prefix of an id.

        Raises:
            errors.NotFound: NODE_NOT_FOUND.
            errors.FailedPrecondition: NODE_AMBIGUOUS.
            errors.Unavailable: no manager can be asked.
        """
        ...

    async def all(self) -> Sequence[NodePlace]:
        """Return all nodes with a known address that are not down. Managers only."""
        ...
