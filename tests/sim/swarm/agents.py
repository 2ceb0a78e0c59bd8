"""The nodes' side: machines that run containers, lose their connection, and report when they have it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ACCEPTED,
    TASK_STATE_ASSIGNED,
    TASK_STATE_COMPLETE,
    TASK_STATE_FAILED,
    TASK_STATE_PREPARING,
    TASK_STATE_READY,
    TASK_STATE_REJECTED,
    TASK_STATE_RUNNING,
    TASK_STATE_SHUTDOWN,
    TASK_STATE_STARTING,
    Task,
    TaskStatus,
)
from services.swarmd.dispatcher.core import orphans, statuses
from services.swarmd.store.tables import NODES, TASKS, TASKS_BY_NODE, copy_of
from services.swarmd.store.transaction import Tx
from tests.sim.swarm.cluster import Cluster

DOWN_AFTER_S = 6.0
STOP_S_MAX = 8.0

BAD_IMAGE = "bad"
"""Cannot be pulled."""
CRASHING_IMAGE = "crash"
"""Starts, and fails a moment later."""


@dataclass
class Container:
    """A task on a node, as the node knows it."""

    task: Task
    state: int
    next_at: float
    stopping: bool = False
    doomed: bool = False
    suspect: bool = False
    """The swarm had given the node up at some time since the container was made."""

    @property
    def exists(self) -> bool:
        return TASK_STATE_STARTING <= self.state <= TASK_STATE_RUNNING


@dataclass
class Agent:
    """One machine."""

    node_id: str
    connected: bool = True
    silent_since: float = 0.0
    containers: dict[str, Container] = field(default_factory=dict)
    unreported: dict[str, TaskStatus] = field(default_factory=dict)


class Agents:
    """All machines, and the dispatcher that hears them."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.agents: dict[str, Agent] = {}
        self.crash_rate = 0.0
        """Chance for each second that a running container fails."""

    def add(self, node_id: str) -> Agent:
        agent = self.agents[node_id] = Agent(node_id)
        return agent

    def cut(self, agent: Agent) -> None:
        agent.connected = False
        agent.silent_since = self.cluster.now

    def step(self, elapsed: float) -> None:
        """Let `elapsed` seconds pass on the machines."""
        self._watch_heartbeats()
        self._orphan()
        for agent in self.agents.values():
            if agent.connected:
                self._sync(agent)
            for container in list(agent.containers.values()):
                self._advance(agent, container, elapsed)
            if agent.connected:
                self._report(agent)

    def _watch_heartbeats(self) -> None:
        now = self.cluster.now

        def change(tx: Tx) -> None:
            for node in tx.list(NODES):
                agent = self.agents.get(node.id)
                state = objects_pb2.NODE_STATE_READY
                if agent is None or (not agent.connected and now - agent.silent_since > DOWN_AFTER_S):
                    state = objects_pb2.NODE_STATE_DOWN
                elif not agent.connected:
                    continue
                if node.status.state != state:
                    seen = copy_of(node)
                    seen.status.state = state
                    seen.status.since.CopyFrom(self.cluster.time)
                    tx.update(NODES, seen)
                    if agent is not None and state == objects_pb2.NODE_STATE_DOWN:
                        for container in agent.containers.values():
                            container.suspect = True

        self.cluster.update(change)

    def _orphan(self) -> None:
        now = self.cluster.datetime

        def change(tx: Tx) -> None:
            lost = orphans.find(tx, sorted(orphans.candidates(tx)), now=now)
            for task_id, reason in sorted(lost.items()):
                task = tx.get(TASKS, task_id)
                orphan = orphans.orphaned(task, reason, now=now, leader_id="m") if task is not None else None
                if orphan is not None:
                    tx.update(TASKS, orphan)

        self.cluster.update(change)

    def _sync(self, agent: Agent) -> None:
        """Take the assignments: tasks that are new or changed, and no others."""
        tasks = {
            task.id: task
            for task in self.cluster.view().find(TASKS_BY_NODE, agent.node_id)
            if TASK_STATE_ASSIGNED <= task.status.state <= TASK_STATE_RUNNING
        }
        for task in tasks.values():
            known = agent.containers.get(task.id)
            if known is None:
                agent.containers[task.id] = Container(task, TASK_STATE_ASSIGNED, self._soon())
            else:
                known.task = task
        for task_id in [task_id for task_id in agent.containers if task_id not in tasks]:
            container = agent.containers[task_id]
            if container.exists:
                container.suspect = True  # not ours any more: stopped without a report
            del agent.containers[task_id]

    def _advance(self, agent: Agent, container: Container, elapsed: float) -> None:
        now, task = self.cluster.now, container.task
        if container.state > TASK_STATE_RUNNING:
            return
        if task.desired_state >= TASK_STATE_SHUTDOWN and not container.stopping:
            container.stopping = True
            container.next_at = now + (self.rng.uniform(0, STOP_S_MAX) if container.exists else 0)
        crashes = container.state == TASK_STATE_RUNNING and (
            self.rng.random() < self.crash_rate * elapsed or (container.doomed and now >= container.next_at)
        )
        if crashes:
            self._set(agent, container, TASK_STATE_FAILED, "exit code 1")
            return
        if now < container.next_at:
            return
        if container.stopping:
            self._set(agent, container, TASK_STATE_SHUTDOWN)
            return
        match container.state:
            case objects_pb2.TASK_STATE_ASSIGNED:
                self._set(agent, container, TASK_STATE_ACCEPTED)
            case objects_pb2.TASK_STATE_ACCEPTED:
                self._set(agent, container, TASK_STATE_PREPARING)
            case objects_pb2.TASK_STATE_PREPARING:
                if task.spec.container.image == BAD_IMAGE:
                    self._set(agent, container, TASK_STATE_REJECTED, "no such image")
                else:
                    self._set(agent, container, TASK_STATE_READY)
            case objects_pb2.TASK_STATE_READY:
                if task.desired_state >= TASK_STATE_RUNNING:
                    self._set(agent, container, TASK_STATE_STARTING)
            case objects_pb2.TASK_STATE_STARTING:
                self._set(agent, container, TASK_STATE_RUNNING)
                if task.spec.container.image == CRASHING_IMAGE:
                    container.doomed = True
                elif task.desired_state == TASK_STATE_COMPLETE:
                    container.next_at = now + self.rng.uniform(1, 5)
            case objects_pb2.TASK_STATE_RUNNING:
                if task.desired_state == TASK_STATE_COMPLETE:
                    self._set(agent, container, TASK_STATE_COMPLETE)

    def _set(self, agent: Agent, container: Container, state: int, error: str = "") -> None:
        container.state = state
        container.next_at = self._soon()
        status = TaskStatus(state=state, error=error)  # type: ignore[arg-type]
        status.since.CopyFrom(self.cluster.time)
        agent.unreported[container.task.id] = status

    def _report(self, agent: Agent) -> None:
        if not agent.unreported or self.rng.random() < 0.3:
            return
        reports, agent.unreported = agent.unreported, {}

        def change(tx: Tx) -> None:
            for task_id, status in reports.items():
                task = tx.get(TASKS, task_id)
                if task is None or task.node_id != agent.node_id:
                    continue
                accepted = statuses.merge(task, status, now=self.cluster.datetime, leader_id="m")
                if accepted is not None:
                    tx.update(TASKS, accepted)

        self.cluster.update(change)

    def _soon(self) -> float:
        return self.cluster.now + self.rng.choice([0.0, 0.0, 0.1, 0.5, 2.0])
