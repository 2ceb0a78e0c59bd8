"""Which tasks have something to tell, and how soon.

Every report is a write of the swarm's store on all managers. A state that a task only passes through (it is being
prepared, it is starting) waits a moment, and is mostly overtaken by the state that the task comes to rest in; that one,
and everything that went wrong, goes at once, with whatever else does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.swarmd.agent.core.facts import READY, RUNNING, Progress, State

if TYPE_CHECKING:
    from services.kit.seams import Clock

GATHER_S = 0.01
PASSING_S = 0.1


def is_passing(progress: Progress, desired: State) -> bool:
    """Say whether a state is one that the task will leave by itself, if nothing goes wrong."""
    rests = progress.state >= RUNNING or progress.state == READY == desired
    return not rests and not progress.error


class Reports:
    """The tasks whose status has not been told yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._news = asyncio.Event()

    def changed(self, task_id: str, *, passing: bool = False) -> None:
        """The status of a task is another one. Never waits."""
        due = self._clock.monotonic() + (PASSING_S if passing else GATHER_S)
        if due < self._due.get(task_id, due + 1):
            self._due[task_id] = due
            self._news.set()

    async def take(self, reports_max: int) -> list[str]:
        """Return tasks whose time has come, at least one, and count them as told; waits until there is one."""
        while not (taken := self._taken(reports_max)):
            self._news.clear()
            first = min(self._due.values(), default=None)
            delay_s = None if first is None else max(first - self._clock.monotonic(), 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._news.wait()
        return taken

    def _taken(self, reports_max: int) -> list[str]:
        now = self._clock.monotonic()
        taken = [task_id for task_id, due in self._due.items() if due <= now][:reports_max]
        for task_id in taken:
            del self._due[task_id]
        return taken
