"""The open session of one node, as its streams see it: what they have to look at, and why they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kit import errors


class LiveSession:
    """Wakes the two streams of a session. A node has at most one that has not ended."""

    def __init__(self, node_id: str, session_id: str) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self._ended: errors.BeeyardError | None = None
        self._itself = asyncio.Event()
        self._assignments = asyncio.Event()
        self._changed_tasks: set[str] = set()
        self._complete = True

    def end(self, reason: errors.BeeyardError) -> None:
        """Let both streams end with `reason`."""
        if self._ended is None:
            self._ended = reason
        self._itself.set()
        self._assignments.set()

    def look_at_itself(self) -> None:
        """The node, or the managers, may have changed."""
        self._itself.set()

    def look_at_task(self, task_id: str) -> None:
        """A task of the node has changed."""
        self._changed_tasks.add(task_id)
        self._assignments.set()

    def look_at_all(self) -> None:
        """Everything may have changed."""
        self._complete = True
        self._assignments.set()
        self._itself.set()

    async def next_message(self) -> None:
        """Return when the node must be told of itself again. Raises why the session has ended."""
        await self._itself.wait()
        self._itself.clear()
        self.require_open()

    async def next_assignments(self) -> None:
        """Return when there may be something to assign. Raises why the session has ended."""
        await self._assignments.wait()
        self.require_open()

    def take_changed(self) -> set[str] | None:
        """Return the tasks to look at, and forget them; None for all."""
        self._assignments.clear()
        changed, self._changed_tasks = self._changed_tasks, set()
        if self._complete:
            self._complete = False
            return None
        return changed

    def begin_assignments(self) -> None:
        """A stream begins: it has sent nothing yet."""
        self._complete = True
        self._assignments.set()

    def require_open(self) -> None:
        """Return if the session has not ended; raise why if it has."""
        if self._ended is not None:
            raise self._ended
