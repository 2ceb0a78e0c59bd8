"""Tasks whose node is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.dispatcher.core import orphans
from services.swarmd.store.memory import Memory
from services.swarmd.store.tables import NODES, TASKS
from services.swarmd.store.transaction import Tx
from services.swarmd.store.views import View

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUNNING, FAILED = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_FAILED


def node(
    node_id: str, state: objects_pb2.NodeState.ValueType, away: timedelta = timedelta()
) -> objects_pb2.Node:
    made = objects_pb2.Node(id=node_id, status=objects_pb2.NodeStatus(state=state))
    made.status.since.FromDatetime(NOW - away)
    return made


def task(task_id: str, node_id: str, state: objects_pb2.TaskState.ValueType = RUNNING) -> objects_pb2.Task:
    return objects_pb2.Task(id=task_id, node_id=node_id, status=objects_pb2.TaskStatus(state=state))


def store(*objects: objects_pb2.Node | objects_pb2.Task) -> View:
    memory = Memory()
    tx = Tx(memory.view())
    for obj in objects:
        if isinstance(obj, objects_pb2.Node):
            tx.create(NODES, obj)
        else:
            tx.create(TASKS, obj)
    memory.apply(1, tx.entry(Timestamp()))
    return memory.view()


def test_only_what_is_lost_is_orphaned() -> None:
    view = store(
        node("up", objects_pb2.NODE_STATE_READY),
        node("short", objects_pb2.NODE_STATE_DOWN, timedelta(hours=1)),
        node("long", objects_pb2.NODE_STATE_DOWN, timedelta(hours=25)),
        task("a", "up"),
        task("b", "short"),
        task("c", "long"),
        task("d", "long", FAILED),
        task("e", "removed"),
        task("f", ""),
    )
    candidates = orphans.candidates(view)
    assert candidates == {"short", "long", "removed"}
    found = orphans.find(view, candidates, now=NOW)
    assert found == {
        "c": "its node has been down for more than 24 hours",
        "e": "its node was removed from the swarm",
    }


def test_an_orphan_says_why() -> None:
    orphan = orphans.orphaned(task("a", "n"), "why", now=NOW, leader_id="leader")
    assert orphan is not None
    assert orphan.status.state == objects_pb2.TASK_STATE_ORPHANED
    assert (orphan.status.error, orphan.status.applied_by) == ("why", "leader")
    assert orphans.orphaned(task("a", "n", FAILED), "why", now=NOW, leader_id="leader") is None
