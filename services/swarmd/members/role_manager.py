"""Makes roles what users want, while this manager leads: `roles` decides, this carries it out and looks again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from services.kit import errors, log
from services.swarmd.members import facts, roles
from services.swarmd.members.roles import Grant, HandOver, Promote, Remove, Show, Withdraw
from services.swarmd.store import tables
from services.swarmd.store.changes import Committed

if TYPE_CHECKING:
    from services.kit.seams import Clock
    from services.swarmd.members.ports import Consensus
    from services.swarmd.members.roles import Step
    from services.swarmd.store.feed import Watch
    from services.swarmd.store.store import Store

_log = log.get(__name__)

LOOK_S: Final = 0.5
"""How often to look without an occasion: what raft knows of its members changes without notice."""
RETRY_S: Final = 0.5
CHANGE_TIMEOUT_S: Final = 5.0


class RoleManager:
    """Runs on the leader. `run` never returns."""

    def __init__(self, store: Store, consensus: Consensus, clock: Clock) -> None:
        self._store = store
        self._consensus = consensus
        self._clock = clock
        self._waiting: list[str] = []

    async def run(self) -> None:
        """Look, act, wait for a change, look again."""
        while True:
            occasion = self._store.watch()
            try:
                acted = await self._pass()
            except (errors.BeeyardError, TimeoutError) as exc:
                _log.warning("role_change_failed", error=str(exc) or type(exc).__name__)
                await self._clock.sleep(RETRY_S)
                continue
            if not acted:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await _nodes_changed(occasion)

    async def _pass(self) -> bool:
        """Do what is to be done now; return whether there was anything."""
        view = self._store.view()
        nodes, members = facts.of_nodes(view), self._consensus.members()
        del view
        if not nodes:
            return False  # a swarm that is just being founded
        steps = roles.plan(nodes, members, self._consensus.raft_id)
        waiting = roles.unremovable(nodes, members)
        if waiting and waiting != self._waiting:
            _log.warning("demotions_wait_for_quorum", node_ids=",".join(waiting))
        self._waiting = waiting
        written = [step for step in steps if isinstance(step, Grant | Withdraw | Show)]
        if written:
            await self._store.update(lambda tx: facts.apply(tx, written))
        for step in steps:
            await self._act(step)
        return bool(steps)

    async def _act(self, step: Step) -> None:
        async with asyncio.timeout(CHANGE_TIMEOUT_S):
            match step:
                case Promote(raft_id):
                    await self._consensus.promote(raft_id)
                case Remove(raft_id):
                    await self._consensus.remove(raft_id)
                case HandOver(raft_id):
                    await self._consensus.hand_over(raft_id)
                case Grant() | Withdraw() | Show():
                    pass  # written above
        _log.info("role_step", step=str(step))


async def _nodes_changed(occasion: Watch) -> None:
    """Return when a node has changed."""
    async for item in occasion:
        if not isinstance(item, Committed) or any(True for _ in item.of(tables.NODES)):
            return
