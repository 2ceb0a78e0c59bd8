"""One seeded run: everything that happens in it follows from the seed."""

from __future__ import annotations

import random

from services.swarmd.store.tables import TASKS
from tests.sim.swarm.agents import Agents
from tests.sim.swarm.checkers import Checkers, Violation
from tests.sim.swarm.cluster import Cluster
from tests.sim.swarm.leader import Leader
from tests.sim.swarm.users import Users

CONVERGED_WITHIN_S = 600.0
QUIET_FOR_S = 120.0


class World:
    """A swarm with its users, machines and faults."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.cluster = Cluster()
        self.agents = Agents(self.cluster, self.rng)
        self.checkers = Checkers(self.cluster, self.agents)
        self.users = Users(self.cluster, self.agents, self.rng)
        self.leader = Leader(self.cluster, self.rng)

    def run(self, steps: int) -> None:
        """Live through `steps` of faults, then see everything come right.

        Raises:
            Violation: Something happened that must never happen, or did not come right.
        """
        for _ in range(self.rng.randrange(3, 6)):
            self.cluster.update(self.users.add_node)
        for _ in range(2):
            self.cluster.update(self.users.create_service)
        self.leader.disturb = self._disturb
        self.leader.dies_at = 0.02
        for _ in range(steps):
            self.agents.crash_rate = self.rng.choice([0.0, 0.0, 0.05])
            if self.rng.random() < 0.15:
                self.users.act()
            if self.rng.random() < 0.02:
                self.leader.change()
            if self.rng.random() < 0.01:
                self.cluster.restarted()
            self._step(self.rng.choice([0.05, 0.3, 1.0, 3.0]))
            if self.rng.random() < 0.05 and not self.leader.is_settled():
                raise Violation(f"a new leader would write: {self.leader.pending_writes()}")
        self._calm_down()

    def _step(self, elapsed: float) -> None:
        self.cluster.now += elapsed
        self.agents.step(elapsed)
        self.leader.work()
        self.checkers.step()

    def _disturb(self) -> None:
        """Write something between what the leader has read and what it proposes."""
        if self.rng.random() < 0.1:
            self.agents.step(0.0)
        if self.rng.random() < 0.02:
            self.users.act()

    def _calm_down(self) -> None:
        self.leader.disturb = None
        self.leader.dies_at = 0.0
        self.agents.crash_rate = 0.0
        self.users.calm()
        began = self.cluster.now
        while wrong := self.checkers.unconverged():
            if self.cluster.now - began > CONVERGED_WITHIN_S:
                raise Violation(f"not right after {CONVERGED_WITHIN_S:g} s: {wrong[:5]}")
            self._step(1.0)
        before = {task.id: task.meta.version for task in self.cluster.view().list(TASKS)}
        ends = self.cluster.now + QUIET_FOR_S
        while self.cluster.now < ends:
            self._step(5.0)
        after = {task.id: task.meta.version for task in self.cluster.view().list(TASKS)}
        if before != after:
            raise Violation("tasks change though nothing happens")
