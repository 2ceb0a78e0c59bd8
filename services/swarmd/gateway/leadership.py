"""Who leads, as a manager sees it: the `LeaderPort` of its servicers, and what the gateway decides by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.swarmd.gateway import routing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.kit.seams import Clock
    from services.swarmd.gateway.ports import NodePlace

ELECTION_GRACE_S: Final = 3.0
"""How long after the loss of a leader a new one may be on its way: calls wait that long before they are refused."""
READ_TIMEOUT_S: Final = 2.0
"""How long a leader may take to prove that it leads."""


class Leadership:
    """Raft's leadership. The manager tells it what raft says; everybody else asks.

    Args:
        self_node_id: Id of this node.
        read_index: Returns when the local store has everything that was acknowledged before the call; raises
            Unavailable if raft cannot tell.
        changed: Told after each change.
        clock: Measures the grace.
    """

    def __init__(
        self,
        *,
        self_node_id: str,
        read_index: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._self_node_id = self_node_id
        self._read_index = read_index
        self._tell = changed
        self._clock = clock
        self._leading = False
        self._leader: NodePlace | None = None
        self._lost_at = clock.monotonic()
        self._changed = asyncio.Event()

    @property
    def self_node_id(self) -> str:
        """Id of this node."""
        return self._self_node_id

    def update(self, *, leading: bool, leader: NodePlace | None) -> None:
        """Take what raft says now.

        Args:
            leading: This node leads, and has applied what was committed before its term.
            leader: Whom it follows, or itself.
        """
        if (leading, leader) == (self._leading, self._leader):
            return
        if leader is None and self._leader is not None:
            self._lost_at = self._clock.monotonic()
        self._leading, self._leader = leading, leader
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell()

    async def changed(self) -> None:
        """Return when something is another than at the time of the call."""
        await self._changed.wait()

    def leading(self) -> bool:
        """Return whether this node leads; see `LeaderPort`."""
        return self._leading

    def leader(self) -> NodePlace | None:
        """Return the leader."""
        return self._leader

    def require_leading(self) -> None:
        """Return if this node leads; raise who does otherwise."""
        if self._leading:
            return
        leader = self._leader
        if leader is not None and leader.node_id == self._self_node_id:
            raise errors.Unavailable("this manager is just beginning to lead", reason="NO_LEADER")
        raise routing.not_leader(leader)

    def situation(self) -> routing.Situation:
        """Return what the gateway decides by."""
        leader = self._leader
        # Elected, but not yet with everything its predecessors committed: nobody leads for a moment.
        beginning = leader is not None and leader.node_id == self._self_node_id and not self._leading
        return routing.Situation(
            standing=routing.Standing.MANAGER,
            leading=self._leading,
            leader=None if beginning else leader,
            may_soon_lead=beginning or self._clock.monotonic() - self._lost_at < ELECTION_GRACE_S,
        )

    async def read_barrier(self, consistency: control_pb2.Consistency.ValueType) -> bool:
        """Return when the store may be read; see `LeaderPort`."""
        if consistency == control_pb2.CONSISTENCY_STALE:
            return self._leader is None
        try:
            if self._leader is not None:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await self._read_index()
                return False
        except (TimeoutError, errors.Unavailable, errors.FailedPrecondition):
            pass  # it cannot be proved that there is a leader: as without one
        if consistency == control_pb2.CONSISTENCY_LINEARIZABLE:
            raise routing.no_leader()
        return True
