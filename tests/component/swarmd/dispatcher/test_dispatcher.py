"""The dispatcher over real gRPC and the real store: sessions, assignments, reports, and changes of leadership."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from beeyard.swarm.v1 import dispatcher_pb2, dispatcher_pb2_grpc, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.gateway.ports import LEADER_ADDRESS, NodePlace
from services.swarmd.store.tables import NODES, TASKS
from tests.component.swarmd.dispatcher.seat import (
    DOWN,
    READY,
    UNKNOWN,
    Seat,
    named_channel,
    node,
    seat,
    task,
    until,
)

RUNNING, SHUTDOWN = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_SHUTDOWN
ACCEPTED, ORPHANED = objects_pb2.TASK_STATE_ACCEPTED, objects_pb2.TASK_STATE_ORPHANED
COMPLETE = dispatcher_pb2.ASSIGNMENTS_KIND_COMPLETE
QUICK_S = 0.1


class NodeClient:
    """A node that does only what a test tells it."""

    def __init__(self, name: str, channel: grpc.aio.Channel, stack: contextlib.AsyncExitStack) -> None:
        self.name = name
        self._stub = dispatcher_pb2_grpc.DispatcherServiceStub(channel)
        self._stack = stack
        self.session_id = ""
        self.messages = None

    async def open(self, hostname: str = "host") -> dispatcher_pb2.OpenSessionResponse:
        request = dispatcher_pb2.OpenSessionRequest(
            description=objects_pb2.NodeDescription(hostname=hostname, address="10.0.0.7:2377")
        )
        stream = client.stream(self._stub.OpenSession(request))
        self.messages = await self._stack.enter_async_context(contextlib.aclosing(stream))
        first = await anext(self.messages)
        self.session_id = first.session_id
        return first

    async def beat(self) -> float:
        request = dispatcher_pb2.HeartbeatRequest(session_id=self.session_id)
        return (await client.call(self._stub.Heartbeat(request))).period_ms / 1000

    async def assignments(self):  # type: ignore[no-untyped-def]
        request = dispatcher_pb2.WatchAssignmentsRequest(session_id=self.session_id)
        stream = client.stream(self._stub.WatchAssignments(request))
        return await self._stack.enter_async_context(contextlib.aclosing(stream))

    async def report(self, **states: objects_pb2.TaskState.ValueType) -> None:
        request = dispatcher_pb2.ReportTaskStatusRequest(session_id=self.session_id)
        for task_id, state in states.items():
            request.reports.add(task_id=task_id, status=objects_pb2.TaskStatus(state=state))
        await client.call(self._stub.ReportTaskStatus(request))


@pytest.fixture
async def manager(socket_dir: Path) -> AsyncIterator[Seat]:
    async with seat(socket_dir) as made:
        await made.put(objects_pb2.Cluster(id="c"), node("n1"), node("n2"))
        yield made


@contextlib.asynccontextmanager
async def connected(manager: Seat, name: str) -> AsyncIterator[NodeClient]:
    async with named_channel(manager.path, name) as channel, contextlib.AsyncExitStack() as stack:
        yield NodeClient(name, channel, stack)


async def test_a_node_that_opens_a_session_is_ready(manager: Seat) -> None:
    cluster = objects_pb2.Cluster(id="c", root_ca=objects_pb2.RootCa(certificate_pem=b"root"))
    cluster.spec.heartbeat_period_ms = 700
    boss = node("m1", READY)
    boss.manager.address = "10.0.0.1:2377"
    await manager.put(cluster, boss)
    async with manager.lead(), connected(manager, "n1") as n1:
        first = await n1.open()
        assert first.session_id
        assert [(peer.node_id, peer.address) for peer in first.managers] == [("m1", "10.0.0.1:2377")]
        assert first.trust_pem == b"root"
        assert first.heartbeat_period_ms == 700
        stored = manager.node("n1")
        assert stored.status.state == READY
        assert stored.status.address == "10.0.0.7", "its own word, as the call came over the machine itself"
        assert stored.description.hostname == "host"
        assert 0.5 <= await n1.beat() <= 0.7


async def test_the_session_tells_of_the_node_and_of_managers(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        changed = objects_pb2.Node()
        changed.CopyFrom(manager.node("n1"))
        changed.spec.availability = objects_pb2.NODE_AVAILABILITY_DRAIN
        await manager.put(changed)
        told = await anext(n1.messages)
        assert told.node.spec.availability == objects_pb2.NODE_AVAILABILITY_DRAIN
        boss = node("m2")
        boss.manager.address = "10.0.0.2:2377"
        await manager.put(boss)
        told = await anext(n1.messages)
        assert [peer.node_id for peer in told.managers] == ["m2"]


async def test_a_description_is_stored_when_it_changes(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        entries = manager.log.entries
        await n1.open()
        assert manager.log.entries == entries
        await n1.open(hostname="renamed")
        assert manager.node("n1").description.hostname == "renamed"


async def test_a_silent_node_is_down_and_comes_back(manager: Seat) -> None:
    async with manager.lead(heartbeat_period_s=QUICK_S), connected(manager, "n1") as n1:
        await n1.open()
        await until(lambda: manager.node("n1").status.state == DOWN)
        assert manager.node("n1").status.message == "heartbeat failure"
        with pytest.raises(errors.FailedPrecondition) as caught:
            await n1.beat()
        assert caught.value.reason == "SESSION_UNKNOWN"
        await n1.open()
        assert manager.node("n1").status.state == READY


async def test_that_a_node_is_down_is_written_in_the_end(manager: Seat) -> None:
    async with manager.lead(heartbeat_period_s=QUICK_S), connected(manager, "n1") as n1:
        await n1.open()
        manager.log.failure = errors.Unavailable("quorum lost", reason="NO_LEADER")
        await asyncio.sleep(6 * QUICK_S)
        assert manager.node("n1").status.state == READY
        manager.log.failure = None
        await until(lambda: manager.node("n1").status.state == DOWN)


async def test_a_node_that_was_let_in_and_never_came_is_down(manager: Seat) -> None:
    async with manager.lead(heartbeat_period_s=QUICK_S):
        await manager.put(node("n9", UNKNOWN))
        await until(lambda: manager.node("n9").status.state == DOWN)


async def test_a_new_leader_waits_for_the_nodes_it_has_not_heard_of(manager: Seat) -> None:
    await manager.put(node("n3", READY), node("n4", READY))
    async with manager.lead(heartbeat_period_s=0.4), connected(manager, "n3") as n3:
        await n3.open()
        await until(lambda: manager.node("n4").status.state == UNKNOWN)
        assert manager.node("n3").status.state in {READY, DOWN}
        await until(lambda: manager.node("n4").status.state == DOWN)
        assert manager.node("n1").status.state == DOWN, "it was down before"


async def test_a_node_that_was_removed_is_told(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "stranger") as stranger, connected(manager, "n1") as n1:
        with pytest.raises(errors.NotFound) as caught:
            await stranger.open()
        assert caught.value.reason == "NODE_REMOVED"
        await n1.open()
        assignments = await n1.assignments()
        await anext(assignments)
        await manager.store.update(lambda tx: tx.remove(NODES, "n1"))
        for stream in (n1.messages, assignments):
            with pytest.raises(errors.NotFound) as caught:
                while True:
                    await anext(stream)
            assert caught.value.reason == "NODE_REMOVED"


async def test_a_swarm_that_is_being_founded_removes_nobody(socket_dir: Path) -> None:
    async with seat(socket_dir) as fresh, fresh.lead(), connected(fresh, "n1") as n1:
        with pytest.raises(errors.Unavailable) as caught:
            await n1.open()
        assert caught.value.reason == "NOT_READY"


async def test_clients_are_no_nodes(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "") as somebody:
        with pytest.raises(errors.PermissionDenied):
            await somebody.open()


async def test_a_newer_session_ends_the_older(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "n1") as old, connected(manager, "n1") as new:
        await old.open()
        assignments = await old.assignments()
        await anext(assignments)
        await new.open()
        with pytest.raises(errors.FailedPrecondition) as caught:
            await anext(assignments)
        assert caught.value.reason == "SESSION_UNKNOWN"
        await new.beat()
        with pytest.raises(errors.FailedPrecondition):
            await old.beat()


async def test_sessions_cannot_be_opened_without_end(manager: Seat) -> None:
    async with manager.lead(), connected(manager, "n1") as n1:
        for _ in range(3):
            await n1.open()
        with pytest.raises(errors.Exhausted):
            await n1.open()


async def test_who_does_not_lead_says_who_does(manager: Seat) -> None:
    manager.leadership.place = NodePlace(node_id="m2", address="10.0.0.2:2377")
    async with connected(manager, "n1") as n1:
        with pytest.raises(errors.FailedPrecondition) as caught:
            await n1.open()
        assert caught.value.reason == "NOT_LEADER"
        assert caught.value.metadata[LEADER_ADDRESS] == "10.0.0.2:2377"
        manager.leadership.place = None
        with pytest.raises(errors.Unavailable) as unavailable:
            await n1.open()
        assert unavailable.value.reason == "NO_LEADER"


async def test_the_end_of_leadership_ends_the_sessions(manager: Seat) -> None:
    async with connected(manager, "n1") as n1:
        async with manager.lead():
            await n1.open()
            assignments = await n1.assignments()
            await anext(assignments)
        for stream in (n1.messages, assignments):
            with pytest.raises(errors.FailedPrecondition) as caught:
                while True:
                    await anext(stream)
            assert caught.value.reason == "NOT_LEADER"


async def test_assignments_are_complete_and_then_follow(manager: Seat) -> None:
    secret = objects_pb2.Secret(id="k", spec=objects_pb2.SecretSpec(data=b"hush"))
    secret.spec.annotations.name = "key"
    await manager.put(task("a"), task("b", "n2"), task("c", state=objects_pb2.TASK_STATE_PENDING), secret)
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        assignments = await n1.assignments()
        first = await anext(assignments)
        assert first.kind == COMPLETE
        assert [found.id for found in first.update_tasks] == ["a"]
        await manager.put(task("c", secrets=["k"]))
        second = await anext(assignments)
        assert second.applies_to == first.results_in
        assert [found.id for found in second.update_tasks] == ["c"]
        assert [found.spec.data for found in second.update_secrets] == [b"hush"]
        await manager.put(task("a", desired=SHUTDOWN), task("b", "n2", desired=SHUTDOWN))
        third = await anext(assignments)
        assert [(found.id, found.desired_state) for found in third.update_tasks] == [("a", SHUTDOWN)]
        await manager.store.update(lambda tx: tx.remove(TASKS, "c"))
        fourth = await anext(assignments)
        assert (list(fourth.remove_task_ids), list(fourth.remove_secret_ids)) == (["c"], ["k"])
        assert fourth.applies_to == third.results_in


async def test_what_is_too_large_for_a_message_comes_in_parts(manager: Seat) -> None:
    big = "A=" + "x" * 600_000
    tasks = [task(f"t{number:02}") for number in range(30)]
    for one in tasks:
        one.spec.container.env.append(big)
        await manager.put(one)
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        assignments = await n1.assignments()
        got: list[str] = []
        while True:
            part = await anext(assignments)
            got += [found.id for found in part.update_tasks]
            if not part.continues:
                break
        assert got == [one.id for one in tasks]


async def test_reports_are_durable_when_they_are_answered(manager: Seat) -> None:
    await manager.put(task("a"), task("b"))
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        await n1.report(a=RUNNING, b=ACCEPTED, unknown=RUNNING)
        assert manager.task("a").status.state == RUNNING
        assert manager.task("a").status.applied_by == "m1"
        assert manager.task("b").status.state == ACCEPTED
        entries = manager.log.entries
        await n1.report(a=ACCEPTED, b=ACCEPTED)
        assert manager.task("a").status.state == RUNNING
        assert manager.log.entries == entries


async def test_a_node_reports_its_own_tasks_only(manager: Seat) -> None:
    await manager.put(task("a"), task("b", "n2"))
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        with pytest.raises(errors.PermissionDenied) as caught:
            await n1.report(a=RUNNING, b=RUNNING)
        assert caught.value.reason == "NOT_YOUR_TASK"
        assert manager.task("a").status.state < RUNNING, "none was taken"


async def test_a_report_needs_a_session(manager: Seat) -> None:
    await manager.put(task("a"))
    async with manager.lead(), connected(manager, "n1") as n1:
        with pytest.raises(errors.FailedPrecondition):
            await n1.report(a=RUNNING)


async def test_reports_that_come_together_are_written_together(manager: Seat) -> None:
    names = [f"t{number:03}" for number in range(400)]
    await manager.put(*(task(name) for name in names))
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        entries = manager.log.entries
        manager.log.delay_s = 0.05
        await asyncio.gather(*(n1.report(**{name: RUNNING}) for name in names))
        assert manager.log.entries - entries < len(names) // 3
        assert all(manager.task(name).status.state == RUNNING for name in names)


async def test_a_report_that_cannot_be_written_fails(manager: Seat) -> None:
    await manager.put(task("a"))
    async with manager.lead(), connected(manager, "n1") as n1:
        await n1.open()
        manager.log.failure = errors.Unavailable("quorum lost", reason="NO_LEADER")
        with pytest.raises(errors.Unavailable) as caught:
            await n1.report(a=RUNNING)
        assert caught.value.reason == "NO_LEADER"
        manager.log.failure = None
        await n1.report(a=RUNNING)


async def test_tasks_of_a_removed_node_are_orphaned(manager: Seat) -> None:
    await manager.put(task("a", state=RUNNING), task("b", "n2", state=RUNNING))
    async with manager.lead():
        await manager.store.update(lambda tx: tx.remove(NODES, "n1"))
        await until(lambda: manager.task("a").status.state == ORPHANED)
        assert manager.task("a").status.error == "its node was removed from the swarm"
        assert manager.task("b").status.state == RUNNING
