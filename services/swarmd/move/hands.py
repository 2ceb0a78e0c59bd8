"""The real hands of a move: the daemons of both nodes, through the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.gateway import lookup
from services.swarmd.move.chores import Chores
from services.swarmd.move.steps import Steps

if TYPE_CHECKING:
    from services.kit.seams import Clock
    from services.swarmd.gateway.lookup import ViewPort
    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.move.core.move import Chore, Facts, Move, Step
    from services.swarmd.move.ports import Report

LOOK_S: Final = 0.5
"""How often a step looks whether the swarm still has its node."""
DOWN: Final = frozenset({objects_pb2.NODE_STATE_DOWN, objects_pb2.NODE_STATE_DISCONNECTED})


class NodeHands:
    """See `ports.Hands`."""

    def __init__(self, dialer: NodeDialer, store: ViewPort, clock: Clock) -> None:
        self._steps = Steps(dialer)
        self._chores = Chores(dialer)
        self._store = store
        self._clock = clock

    async def do(self, move: Move, step: Step, report: Report) -> Facts:
        """Do a step. It fails when the swarm finds the new node down, long before the connection would."""
        try:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._until_down(move.wanted.target))
                facts = await self._steps.do(move, step, report)
                looking.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return facts

    async def settle(self, move: Move, chore: Chore) -> str:
        """Do a chore."""
        return await self._chores.settle(move, chore)

    async def _until_down(self, node_id: str) -> None:
        while True:
            node = lookup.node_named(self._store.view(), node_id)
            if node.status.state in DOWN:
                name = node.description.hostname or node.id
                raise errors.Unavailable(f"node {name} is down", reason="NODE_UNREACHABLE")
            await self._clock.sleep(LOOK_S)
