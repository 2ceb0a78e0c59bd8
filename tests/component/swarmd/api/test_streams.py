"""Watches and logs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.api import logfan, watches
from services.swarmd.store.tables import SERVICES, TASKS
from tests.component.swarmd.api.desk import Desk
from tests.component.swarmd.dispatcher.seat import node, task, until

RUNNING = objects_pb2.TASK_STATE_RUNNING
TASK, NODE, SECRET = (
    control_pb2.OBJECT_KIND_TASK,
    control_pb2.OBJECT_KIND_NODE,
    control_pb2.OBJECT_KIND_SECRET,
)


@contextlib.asynccontextmanager
async def watching(at: Desk, **fields: object) -> AsyncIterator[AsyncIterator[control_pb2.WatchResponse]]:
    request = control_pb2.WatchRequest(**fields)  # type: ignore[arg-type]
    async with contextlib.aclosing(client.stream(at.watches.Watch(request))) as responses:
        started = await anext(responses)
        assert started.HasField("started")
        yield responses


async def test_changes_come_as_they_happen(at: Desk) -> None:
    async with watching(at, kinds=[TASK]) as responses:
        await at.seat.put(node("n1"))
        await at.seat.put(task("a"))
        await at.seat.put(task("a", state=RUNNING))
        await at.seat.store.update(lambda tx: tx.remove(TASKS, "a"))
        seen = [(await anext(responses)).changes for _ in range(3)]
    assert [change.action for changes in seen for change in changes.changes] == [
        control_pb2.CHANGE_ACTION_CREATED,
        control_pb2.CHANGE_ACTION_UPDATED,
        control_pb2.CHANGE_ACTION_REMOVED,
    ]
    assert seen[2].changes[0].task.status.state == RUNNING, "the last value of what is gone"
    assert seen[0].version < seen[1].version < seen[2].version


async def test_a_watch_goes_on_where_it_was(at: Desk) -> None:
    await at.seat.put(task("a"))
    version = at.seat.store.index
    await at.seat.put(task("b"))
    async with watching(at, after_version=version) as responses:
        changes = (await anext(responses)).changes
        assert [change.task.id for change in changes.changes] == ["b"]


async def test_a_watch_of_one_service(at: Desk) -> None:
    other = task("b")
    other.service_id = "s2"
    async with watching(at, service_id="s1") as responses:
        await at.seat.put(node("n1"), other, task("a"))
        changes = (await anext(responses)).changes
        assert [change.task.id for change in changes.changes] == ["a"]


async def test_secrets_and_keys_are_not_told(at: Desk) -> None:
    secret = objects_pb2.Secret(id="k", spec=objects_pb2.SecretSpec(data=b"hush"))
    cluster = objects_pb2.Cluster(id="c", unlock_key=b"hush", root_ca=objects_pb2.RootCa(key_pem=b"hush"))
    async with watching(at) as responses:
        await at.seat.put(secret, cluster)
        changes = (await anext(responses)).changes
    assert len(changes.changes) == 2
    assert b"hush" not in changes.SerializeToString()


async def test_a_manager_without_a_leader_ends_its_watches(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "LEADERLESS_MAX_S", 0.1)
    monkeypatch.setattr(watches, "LEADER_CHECK_S", 0.05)
    async with watching(at) as responses:
        at.seat.leadership.place = None
        with pytest.raises(errors.Unavailable) as caught:
            await anext(responses)
        assert caught.value.reason == "NO_LEADER"


async def test_unknown_kinds_are_refused(at: Desk) -> None:
    request = control_pb2.WatchRequest(kinds=[99])  # type: ignore[list-item]
    with pytest.raises(errors.Invalid):
        async for _ in client.stream(at.watches.Watch(request)):
            pass


class Logs:
    """What a call for logs has brought so far."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.gaps: list[tuple[str, str]] = []
        self.streams: dict[str, list[bool]] = {}

    def take(self, response: control_pb2.GetServiceLogsResponse) -> None:
        if response.HasField("gap"):
            self.gaps.append((response.gap.node_id, response.gap.reason))
            return
        got = response.lines
        self.lines.setdefault(got.task_name, []).extend(line.data.decode() for line in got.lines)
        self.streams.setdefault(got.task_name, []).extend(line.stderr for line in got.lines)


@contextlib.asynccontextmanager
async def reading(at: Desk, target: str, **fields: object) -> AsyncIterator[tuple[Logs, asyncio.Task[None]]]:
    request = control_pb2.GetServiceLogsRequest(target=target, **fields)  # type: ignore[arg-type]
    logs = Logs()

    async def read() -> None:
        async with contextlib.aclosing(client.stream(at.logs.GetServiceLogs(request))) as responses:
            async for response in responses:
                logs.take(response)

    task_ = asyncio.create_task(read())
    try:
        yield logs, task_
    finally:
        task_.cancel()
        with contextlib.suppress(asyncio.CancelledError, errors.BeeyardError):
            await task_


async def read_all(at: Desk, target: str, **fields: object) -> Logs:
    async with reading(at, target, **fields) as (logs, done), asyncio.timeout(10):
        await done
    return logs


def placed(task_id: str, slot: int, node_id: str, container_id: str = "") -> objects_pb2.Task:
    made = task(task_id, node_id, state=RUNNING)
    made.slot = slot
    made.status.container.container_id = container_id or f"c-{task_id}"
    return made


@pytest.fixture
async def at_with_logs(at: Desk) -> Desk:
    service = objects_pb2.Service(id="s1")
    service.spec.annotations.name = "web"
    await at.seat.store.update(lambda tx: tx.create(SERVICES, service))
    await at.seat.put(placed("a", 1, "n1"), placed("b", 2, "n2"))
    (await at.nodes.start("n1")).write("c-a", "one\n", "!two\n")
    (await at.nodes.start("n2")).write("c-b", "three\n")
    return at


async def test_the_logs_of_a_service_come_from_all_its_nodes(at_with_logs: Desk) -> None:
    logs = await read_all(at_with_logs, "web")
    assert logs.lines == {"web.1.a": ["one\n", "!two\n"], "web.2.b": ["three\n"]}
    assert logs.streams["web.1.a"] == [False, True]
    assert logs.gaps == []


async def test_the_logs_of_one_task(at_with_logs: Desk) -> None:
    assert (await read_all(at_with_logs, "web.2")).lines == {"web.2.b": ["three\n"]}
    with pytest.raises(errors.NotFound) as caught:
        await read_all(at_with_logs, "nothing")
    assert caught.value.reason == "TASK_NOT_FOUND"


async def test_what_is_asked_is_passed_on(at_with_logs: Desk) -> None:
    logs = await read_all(at_with_logs, "a", tail=1, no_stderr=True)
    assert logs.lines == {"web.1.a": ["!two\n"]}
    (request,) = at_with_logs.nodes.nodes["n1"].requests
    assert (request.tail, request.no_stderr, request.follow) == (1, True, False)


async def test_a_node_that_is_away_is_a_gap(at_with_logs: Desk) -> None:
    await at_with_logs.seat.put(placed("c", 3, "n3"), placed("d", 4, "n1", "removed"))
    await at_with_logs.nodes.stop("n2")
    logs = await read_all(at_with_logs, "web")
    assert logs.lines == {"web.1.a": ["one\n", "!two\n"]}
    assert sorted(node_id for node_id, _ in logs.gaps) == ["n1", "n2", "n3"]
    assert ("n1", "No such container: removed") in logs.gaps
    assert ("n3", "node n3 cannot be reached") in logs.gaps


async def test_following_goes_on_with_what_is_written_and_with_new_tasks(at_with_logs: Desk) -> None:
    async with reading(at_with_logs, "web", follow=True) as (logs, done):
        await until(lambda: len(logs.lines) == 2)
        at_with_logs.nodes.nodes["n1"].write("c-a", "later\n")
        await until(lambda: logs.lines["web.1.a"][-1] == "later\n")
        at_with_logs.nodes.nodes["n2"].write("c-c", "new\n")
        await at_with_logs.seat.put(placed("c", 3, "n2"))
        await until(lambda: logs.lines.get("web.3.c") == ["new\n"])
        for node_id, container_id in (("n1", "c-a"), ("n2", "c-b"), ("n2", "c-c")):
            at_with_logs.nodes.nodes[node_id].write(container_id, end=True)
        await asyncio.sleep(0.05)
        assert not done.done(), "there may be new tasks as long as there is the service"
        await at_with_logs.seat.store.update(lambda tx: tx.remove(SERVICES, "s1"))
        async with asyncio.timeout(10):
            await done


async def test_following_one_task_ends_with_it(at_with_logs: Desk) -> None:
    async with reading(at_with_logs, "a", follow=True) as (logs, done):
        await until(lambda: logs.lines)
        at_with_logs.nodes.nodes["n1"].write("c-a", "last\n", end=True)
        async with asyncio.timeout(10):
            await done
        assert logs.lines["web.1.a"][-1] == "last\n"


async def test_following_waits_for_a_task_that_has_no_container_yet(at_with_logs: Desk) -> None:
    await at_with_logs.seat.put(task("new", state=objects_pb2.TASK_STATE_PREPARING))
    async with reading(at_with_logs, "new", follow=True) as (logs, done):
        await asyncio.sleep(0.05)
        assert not done.done()
        at_with_logs.nodes.nodes["n1"].write("c-new", "hello\n", end=True)
        await at_with_logs.seat.put(placed("new", 1, "n1"))
        async with asyncio.timeout(10):
            await done
        assert logs.lines == {"web.1.new": ["hello\n"]}


async def test_following_outlives_the_absence_of_a_node(
    at_with_logs: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfan, "RECONNECT_BASE_S", 0.02)
    async with reading(at_with_logs, "web", follow=True) as (logs, _):
        await until(lambda: len(logs.lines) == 2)
        await at_with_logs.nodes.stop("n2")
        await until(lambda: logs.gaps)
        at_with_logs.nodes.nodes["n2"].write("c-b", "meanwhile\n")
        await asyncio.sleep(0.1)
        await at_with_logs.nodes.start("n2")
        await until(lambda: logs.lines["web.2.b"] == ["three\n", "meanwhile\n"])
        assert [node_id for node_id, _ in logs.gaps] == ["n2"], "one gap for one absence"


async def test_a_reader_that_leaves_is_not_waited_for(at_with_logs: Desk) -> None:
    async with reading(at_with_logs, "web", follow=True) as (logs, done):
        await until(lambda: len(logs.lines) == 2)
        done.cancel()
        await asyncio.wait([done])
    await until(lambda: at_with_logs.seat.server.in_flight == 0)
