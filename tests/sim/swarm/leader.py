"""The leader's control loop without the loop: passes, some of them disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from beeyard.swarm.v1.objects_pb2 import Task, TaskState
from services.swarmd.control.planner import Planner, unit_of
from services.swarmd.store.changes import Committed, Refused
from services.swarmd.store.entries import Entry, Write
from services.swarmd.store.tables import TASKS, copy_of
from tests.sim.swarm.cluster import Cluster

PASSES_MAX = 40
"""Passes in a row at one moment: more would be a loop that never settles."""

REST_S_MAX = 0.05
"""What was just looked at rests for less than this."""


class Leader:
    """Whoever leads. A change of the leader forgets all that is not in the store."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._planner = Planner(cluster.new_id)
        self.disturb: Callable[[], None] | None = None
        """Called between a view and the proposal that rests on it: somebody else writes."""
        self.dies_at = 0.0
        """Chance for each pass that the leader dies while its entries are being committed."""
        self.passes = 0
        cluster.listeners.append(self._observe)
        self.change()

    def change(self) -> None:
        """Let another manager lead, which knows nothing but the store."""
        self._planner = Planner(self._cluster.new_id)
        self._planner.resync(self._cluster.view())

    def work(self) -> None:
        """Make all passes that are due."""
        for _ in range(PASSES_MAX):
            due = self._planner.next_pass_at(self._cluster.now)
            if due > self._cluster.now + REST_S_MAX:
                return
            self._cluster.now = max(self._cluster.now, due)
            self._pass()
        assert self.is_settled(), f"the leader does not settle: {self.pending_writes()}"

    def is_settled(self) -> bool:
        return not self.pending_writes()

    def pending_writes(self) -> list[str]:
        """What a leader that knows only the store would write now."""
        planner = Planner(self._cluster.new_id)
        planner.resync(self._cluster.view())
        tx = planner.plan(self._cluster.view(), self._cluster.now)
        return [
            f"{write.table.name} {write.id}: {_brief(write.old)} -> {_brief(write.new)}"
            for write in tx.writes()
            if not _is_rewording(write)
        ]

    def _pass(self) -> None:
        self.passes += 1
        tx = self._planner.plan(self._cluster.view(), self._cluster.now)
        entries = list(tx.entries(self._cluster.time, unit_of))
        if entries and self.disturb is not None:
            self.disturb()
        refused: list[Entry] = []
        for entry in entries:
            if self._rng.random() < self.dies_at:
                self.change()
                return
            if isinstance(self._cluster.commit(entry.data), Refused):
                refused.append(entry)
        for entry in refused:
            self._planner.undone(entry.writes, self._cluster.view())

    def _observe(self, committed: Committed) -> None:
        self._planner.observe(committed, self._cluster.view())


def _is_rewording(write: Write) -> bool:
    """Say whether only the explanation differs for which a task has no node: it may count other nodes by now."""
    if write.table is not TASKS or write.old is None or write.new is None:
        return False
    reworded = copy_of(write.new)
    reworded.status.error = write.old.status.error
    return bool(reworded == write.old)


def _brief(obj: Any) -> str:
    if not isinstance(obj, Task):
        return " ".join(str(obj).split())
    state = TaskState.Name(obj.status.state).removeprefix("TASK_STATE_")
    desired = TaskState.Name(obj.desired_state).removeprefix("TASK_STATE_")
    return (
        f"{obj.service_id[-4:]}.{obj.slot or obj.node_id[-4:]} {state} (wanted {desired}) {obj.stop_reason}"
    )
