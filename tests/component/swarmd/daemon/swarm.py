"""Whole swarmd nodes in this process: real sockets, real TLS, real raft on a real disk; no engine below them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.kit.tasks import Supervisor
from services.swarmd.config import SwarmdConfig
from services.swarmd.daemon import build

WAIT_S = 60
MANAGER, WORKER = objects_pb2.NODE_ROLE_MANAGER, objects_pb2.NODE_ROLE_WORKER
NET = f"127.{(os.getpid() >> 8) & 127 | 64}.{os.getpid() & 255}"
"""Loopback addresses of this process alone; the last number is the node's."""


class SwarmNode:
    """One node; it can be stopped and started again."""

    def __init__(self, base: Path, number: int) -> None:
        self.number = number
        self.host = f"{NET}.{number}"
        self.address = f"{self.host}:2377"
        self.hostname = f"node-{number}"
        self.root = base / str(number)
        self._stack: contextlib.AsyncExitStack | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None, "the node is not started"
        return self._channel

    @property
    def cluster(self) -> control_pb2_grpc.ClusterServiceStub:
        return control_pb2_grpc.ClusterServiceStub(self.channel)

    @property
    def nodes(self) -> control_pb2_grpc.NodeServiceStub:
        return control_pb2_grpc.NodeServiceStub(self.channel)

    async def start(self) -> None:
        run = self.root / "r"
        (self.root / "swarmd").mkdir(parents=True, exist_ok=True)
        run.mkdir(exist_ok=True)
        config = SwarmdConfig(
            root=self.root,
            run=run,
            listen=self.address,
            enroll_listen=f"{self.host}:2378",
            hostname=self.hostname,
            group="",
        )
        stack = contextlib.AsyncExitStack()
        supervisor = await stack.enter_async_context(Supervisor())
        listeners = await stack.enter_async_context(build(config, supervisor))
        for listener in listeners:
            stack.push_async_callback(listener.drain, 0)
            await listener.start()
        self._channel = client.channel_unix(run / "swarmd.sock")
        stack.push_async_callback(self._channel.close)
        self._stack = stack

    async def stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    async def init(self, **wishes: object) -> control_pb2.InitSwarmResponse:
        request = control_pb2.InitSwarmRequest(**wishes)
        return await client.call(self.cluster.InitSwarm(request, timeout=WAIT_S))

    async def join(self, through: SwarmNode, token: str) -> control_pb2.JoinSwarmResponse:
        request = control_pb2.JoinSwarmRequest(remote_addresses=[through.host], token=token)
        return await client.call(self.cluster.JoinSwarm(request, timeout=WAIT_S))

    async def leave(self, *, force: bool = False) -> None:
        request = control_pb2.LeaveSwarmRequest(force=force)
        await client.call(self.cluster.LeaveSwarm(request, timeout=WAIT_S))

    async def state(self) -> control_pb2.GetLocalStateResponse:
        return await client.call(
            self.cluster.GetLocalState(control_pb2.GetLocalStateRequest(), timeout=WAIT_S)
        )

    async def tokens(self) -> objects_pb2.JoinTokens:
        request = control_pb2.GetJoinTokensRequest()
        return (await client.call(self.cluster.GetJoinTokens(request, timeout=WAIT_S))).tokens

    async def list(self) -> dict[str, objects_pb2.Node]:
        """Return the nodes by host name, as this node is told."""
        response = await client.call(self.nodes.ListNodes(control_pb2.ListNodesRequest(), timeout=WAIT_S))
        return {node.description.hostname: node for node in response.nodes}

    async def node(self, name: str) -> objects_pb2.Node:
        request = control_pb2.GetNodeRequest(node=name)
        return (await client.call(self.nodes.GetNode(request, timeout=WAIT_S))).node

    async def update(self, name: str, change: Callable[[objects_pb2.NodeSpec], None]) -> objects_pb2.Node:
        """Change a node through this one, reading again when somebody was faster."""
        while True:
            node = await self.node(name)
            change(node.spec)
            request = control_pb2.UpdateNodeRequest(node=node.id, version=node.meta.version, spec=node.spec)
            try:
                return (await client.call(self.nodes.UpdateNode(request, timeout=WAIT_S))).node
            except errors.Conflict:
                continue

    async def set_role(self, name: str, role: objects_pb2.NodeRole.ValueType) -> objects_pb2.Node:
        def change(spec: objects_pb2.NodeSpec) -> None:
            spec.role = role

        return await self.update(name, change)

    async def remove(self, name: str, *, force: bool = False) -> None:
        request = control_pb2.RemoveNodeRequest(node=name, force=force)
        await client.call(self.nodes.RemoveNode(request, timeout=WAIT_S))

    async def label(self, name: str, value: str) -> objects_pb2.Node:
        """Write something into the swarm."""

        def change(spec: objects_pb2.NodeSpec) -> None:
            spec.annotations.labels["test"] = value

        return await self.update(name, change)


class Swarm:
    """The nodes of a test."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.nodes: list[SwarmNode] = []

    async def start(self, count: int) -> list[SwarmNode]:
        """Start nodes that are in no swarm."""
        fresh = [SwarmNode(self._base, len(self.nodes) + 1 + at) for at in range(count)]
        self.nodes += fresh
        for node in fresh:
            await node.start()
        return fresh

    async def found(self, managers: int, workers: int) -> list[SwarmNode]:
        """Start nodes and make a swarm of them: the managers first; the first one leads."""
        nodes = await self.start(managers + workers)
        tokens = (await nodes[0].init()).join_tokens
        for node in nodes[1:managers]:
            await node.join(nodes[0], tokens.manager)
        for node in nodes[managers:]:
            await node.join(nodes[0], tokens.worker)
        await until(lambda: has_voters(nodes[0], managers))
        return nodes

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()


@contextlib.asynccontextmanager
async def swarm(base: Path) -> AsyncIterator[Swarm]:
    running = Swarm(base)
    try:
        yield running
    finally:
        await running.stop()


async def until(condition: Callable[[], Awaitable[bool]], *, every_s: float = 0.05) -> None:
    """Return when the condition holds; errors of the kind that pass by count as "not yet"."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(errors.Unavailable, errors.FailedPrecondition, errors.NotFound):
                if await condition():
                    return
            await asyncio.sleep(every_s)


async def has_voters(through: SwarmNode, count: int) -> bool:
    """Whether raft has so many members which the leader hears."""
    nodes = (await through.list()).values()
    shown = [node for node in nodes if node.manager.raft_id]
    return len(shown) == count and all(node.manager.reachable for node in shown)


async def is_ready(through: SwarmNode, node: SwarmNode) -> bool:
    """Whether the swarm has a session with a node."""
    found = (await through.list()).get(node.hostname)
    return found is not None and found.status.state == objects_pb2.NODE_STATE_READY


async def leader_of(nodes: list[SwarmNode]) -> SwarmNode:
    """Return the node that leads, by the word of a majority."""
    found: list[SwarmNode] = []

    async def known() -> bool:
        states = [await node.state() for node in nodes]
        leaders = {state.leader_node_id for state in states}
        if len(leaders) != 1 or leaders == {""}:
            return False
        ids = dict(zip([state.node_id for state in states], nodes, strict=True))
        found[:] = [ids[leader] for leader in leaders if leader in ids]
        return bool(found)

    await until(known)
    return found[0]
