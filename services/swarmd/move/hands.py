"""The real hands of a move: the daemons of both nodes, through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.swarmd.move.chores import Chores
from services.swarmd.move.steps import Steps

if TYPE_CHECKING:
    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.move.core.move import Chore, Facts, Move, Step
    from services.swarmd.move.ports import Report


class NodeHands:
    """See `ports.Hands`."""

    def __init__(self, dialer: NodeDialer) -> None:
        self._steps = Steps(dialer)
        self._chores = Chores(dialer)

    async def do(self, move: Move, step: Step, report: Report) -> Facts:
        """Do a step."""
        return await self._steps.do(move, step, report)

    async def settle(self, move: Move, chore: Chore) -> str:
        """Do a chore."""
        return await self._chores.settle(move, chore)
