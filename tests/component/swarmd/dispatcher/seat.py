"""A manager's seat: the real store, whose entries are applied at once, and servers on unix sockets.

Who calls stands in the metadata `test-node` instead of in a certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from beeyard.swarm.v1 import control_pb2, dispatcher_pb2, dispatcher_pb2_grpc, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from services.kit.system import SystemClock, new_base36_id
from services.swarmd.dispatcher.dispatcher import Dispatcher, Settings
from services.swarmd.dispatcher.server import FOLLOWS, DispatcherServicer
from services.swarmd.gateway.ports import (
    LEADER_ADDRESS,
    LEADER_NODE_ID,
    Caller,
    CallerKind,
    ManagerConnection,
    NodePlace,
)
from services.swarmd.store.store import Store
from services.swarmd.store.tables import CLUSTERS, NODES, SECRETS, TASKS

READY, DOWN = objects_pb2.NODE_STATE_READY, objects_pb2.NODE_STATE_DOWN
UNKNOWN = objects_pb2.NODE_STATE_UNKNOWN
_TABLES = {
    objects_pb2.Node: NODES,
    objects_pb2.Task: TASKS,
    objects_pb2.Secret: SECRETS,
    objects_pb2.Cluster: CLUSTERS,
}


class Log:
    """Stands for raft with one member: every entry is committed at once, unless it is told to fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entries = 0
        self.failure: errors.BeeyardError | None = None
        self.delay_s = 0.0

    async def propose(self, data: bytes) -> object:
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        self.entries += 1
        return self._store.apply(self._store.index + 1, data)


class Leadership:
    """Says who leads."""

    def __init__(self) -> None:
        self.self_node_id = "m1"
        self.place: NodePlace | None = NodePlace(node_id="m1", address="10.0.0.1:2377")

    def leading(self) -> bool:
        return self.place is not None and self.place.node_id == self.self_node_id

    def leader(self) -> NodePlace | None:
        return self.place

    def require_leading(self) -> None:
        if self.place is None:
            raise errors.Unavailable("there is no leader", reason="NO_LEADER")
        if not self.leading():
            raise errors.FailedPrecondition(
                "this manager does not lead",
                reason="NOT_LEADER",
                metadata={LEADER_ADDRESS: self.place.address, LEADER_NODE_ID: self.place.node_id},
            )

    async def read_barrier(self, consistency: control_pb2.Consistency.ValueType, /) -> bool:
        if self.place is None and consistency == control_pb2.CONSISTENCY_LINEARIZABLE:
            raise errors.Unavailable("there is no leader", reason="NO_LEADER")
        return self.place is None


class Callers:
    """Reads the caller from the metadata."""

    def caller(self, context: Context) -> Caller:
        metadata = dict(context.invocation_metadata() or ())
        name = str(metadata.get("test-node", ""))
        kind = CallerKind.WORKER if name else CallerKind.CLIENT
        return Caller(kind=kind, node_id=name, asked_node_id=str(metadata.get("test-asked", "m1")))


class Seat:
    """One manager that leads, or does not."""

    def __init__(self, directory: Path) -> None:
        self.clock = SystemClock()
        self.store = Store(self.clock)
        self.log = Log(self.store)
        self.store.bind(self.log)
        self.leadership = Leadership()
        self.callers = Callers()
        self.servicer = DispatcherServicer(self.callers, self.leadership)
        self.path = directory / "manager.sock"
        self.server = RpcServer("manager")
        self.server.add(
            dispatcher_pb2_grpc.add_DispatcherServiceServicer_to_server, self.servicer, follows=FOLLOWS
        )

    async def put(
        self, *objects: objects_pb2.Node | objects_pb2.Task | objects_pb2.Secret | objects_pb2.Cluster
    ) -> None:
        """Write objects."""
        for start in range(0, len(objects), 100):

            def write(tx, part=objects[start : start + 100]):  # type: ignore[no-untyped-def]
                for obj in part:
                    table = _TABLES[type(obj)]
                    (tx.create if tx.get(table, obj.id) is None else tx.update)(table, obj)

            await self.store.update(write)

    def node(self, node_id: str) -> objects_pb2.Node:
        return self.store.view().get(NODES, node_id) or objects_pb2.Node()

    def task(self, task_id: str) -> objects_pb2.Task:
        return self.store.view().get(TASKS, task_id) or objects_pb2.Task()

    @contextlib.asynccontextmanager
    async def lead(self, **settings: float) -> AsyncIterator[Dispatcher]:
        """Lead for the length of the block. Nodes that a test forgets to keep alive live long."""
        settings.setdefault("heartbeat_period_s", 60.0)
        async with Dispatcher.lead(
            self.store,
            self_node_id="m1",
            clock=self.clock,
            rng=random.Random(1),
            new_id=new_base36_id,
            settings=Settings(**settings),
        ) as dispatcher:
            with self.servicer.serving(dispatcher):
                yield dispatcher


@contextlib.asynccontextmanager
async def seat(directory: Path, furnish: Callable[[Seat], None] = lambda _: None) -> AsyncIterator[Seat]:
    """Serve a seat, with further servicers; nobody leads there yet."""
    made = Seat(directory)
    furnish(made)
    made.server.listen_unix(made.path)
    await made.server.start()
    try:
        yield made
    finally:
        made.store.close()
        await made.server.drain(0)


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Return when a condition holds."""
    try:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what or condition}") from None


def node(node_id: str, state: objects_pb2.NodeState.ValueType = DOWN) -> objects_pb2.Node:
    made = objects_pb2.Node(id=node_id, status=objects_pb2.NodeStatus(state=state))
    made.spec.role = objects_pb2.NODE_ROLE_WORKER
    made.status.since.seconds = 4_000_000_000  # far from being given up
    return made


def task(
    task_id: str,
    node_id: str = "n1",
    *,
    state: objects_pb2.TaskState.ValueType = objects_pb2.TASK_STATE_ASSIGNED,
    desired: objects_pb2.TaskState.ValueType = objects_pb2.TASK_STATE_RUNNING,
    secrets: Sequence[str] = (),
    image: str = "web:1",
) -> objects_pb2.Task:
    made = objects_pb2.Task(
        id=task_id,
        node_id=node_id,
        service_id="s1",
        slot=1,
        service_annotations=objects_pb2.Annotations(name="web"),
        desired_state=desired,
        status=objects_pb2.TaskStatus(state=state),
    )
    made.spec.container.image = image
    made.spec.secrets.extend(objects_pb2.FileReference(id=name, name=name) for name in secrets)
    return made


class OneManager:
    """A dialer that knows one address; calls on it carry a node's name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.hints: list[str] = []
        self.failures = 0

    async def connect(self) -> ManagerConnection:
        return ManagerConnection(place=NodePlace(node_id="", address="10.0.0.1:2377"), channel=self._channel)

    def leader_hint(self, address: str, _node_id: str = "", /) -> None:
        self.hints.append(address)

    def failed(self, _connection: ManagerConnection, /) -> None:
        self.failures += 1


class Membership:
    """Remembers what the session said."""

    def __init__(self) -> None:
        self.messages: list[dispatcher_pb2.OpenSessionResponse] = []
        self.removed: list[str] = []

    def session_message(self, message: dispatcher_pb2.OpenSessionResponse, /) -> None:
        self.messages.append(message)

    def node_removed(self, message: str, /) -> None:
        self.removed.append(message)


class NamedChannel:
    """A channel on which a node calls: its name goes along with every call."""

    def __init__(self, path: Path, name: str) -> None:
        self._inner = client.channel_unix(path)
        self._metadata = (("test-node", name),)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._named(self._inner.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._named(self._inner.unary_stream(*args, **kwargs))

    async def close(self) -> None:
        await self._inner.close()

    def _named(self, start: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return start(*args, **{**kwargs, "metadata": self._metadata})

        return call


@contextlib.asynccontextmanager
async def named_channel(path: Path, name: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel of a node."""
    channel = NamedChannel(path, name)
    try:
        yield channel  # type: ignore[misc]
    finally:
        await channel.close()
