"""The control API over the real store and real gRPC, with nodes that hold logs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio

from beeyard.container.v1 import container_pb2, container_pb2_grpc
from beeyard.swarm.v1 import control_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from services.kit.system import new_base36_id
from services.swarmd.api import logs, watches
from services.swarmd.api.configs import ConfigServicer
from services.swarmd.api.execs import ExecServicer
from services.swarmd.api.logs import LogServicer
from services.swarmd.api.networks import NetworkServicer
from services.swarmd.api.nodes import NodeServicer
from services.swarmd.api.ports import Manager
from services.swarmd.api.secrets import SecretServicer
from services.swarmd.api.services import ServiceServicer
from services.swarmd.api.tasks import TaskServicer
from services.swarmd.api.watches import WatchServicer
from services.swarmd.members.roles import MemberFacts
from tests.component.swarmd.dispatcher.seat import Seat, seat

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Resolver:
    """Knows digests of images."""

    def __init__(self) -> None:
        self.known = {"web:1": "sha256:" + "1" * 64, "web:2": "sha256:" + "2" * 64}
        self.asked: list[str] = []
        self.failure: errors.BeeyardError | None = None

    async def resolve(self, reference: str, _platform: str, /) -> str:
        self.asked.append(reference)
        if self.failure is not None:
            raise self.failure
        if reference not in self.known:
            raise errors.NotFound(f"No such image: {reference}", reason="IMAGE_NOT_FOUND")
        return self.known[reference]


class Raft:
    """Knows the members."""

    def __init__(self) -> None:
        self.facts: list[MemberFacts] = []

    def members(self) -> Sequence[MemberFacts]:
        return self.facts

    def set(self, **reachable: bool) -> None:
        """Say who is a voter, and whether it can be reached."""
        self.facts = [
            MemberFacts(
                raft_id=number,
                node_id=node_id,
                address="",
                voter=True,
                reachable=is_reachable,
                caught_up=True,
            )
            for number, (node_id, is_reachable) in enumerate(reachable.items(), start=1)
        ]


class LogNode(container_pb2_grpc.ContainerServiceServicer):
    """The logs of one node's containers."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.ended: set[str] = set()
        self.changed = asyncio.Event()
        self.requests: list[container_pb2.GetLogsRequest] = []

    def write(self, container_id: str, *lines: str, end: bool = False) -> None:
        self.lines.setdefault(container_id, []).extend(lines)
        if end:
            self.ended.add(container_id)
        self.changed.set()

    async def GetLogs(
        self, request: container_pb2.GetLogsRequest, _context: Context
    ) -> AsyncIterator[container_pb2.GetLogsResponse]:
        copy = container_pb2.GetLogsRequest()
        copy.CopyFrom(request)
        self.requests.append(copy)
        if request.container not in self.lines:
            raise errors.NotFound(f"No such container: {request.container}", reason="CONTAINER_NOT_FOUND")
        sent = 0
        if request.HasField("tail"):
            sent = max(0, len(self.lines[request.container]) - request.tail)
        while True:
            for number, text in list(enumerate(self.lines[request.container]))[sent:]:
                sent = number + 1
                line = container_pb2.LogLine(
                    stream=container_pb2.OUTPUT_STREAM_STDERR
                    if text.startswith("!")
                    else container_pb2.OUTPUT_STREAM_STDOUT,
                    data=text.encode(),
                )
                line.time.FromDatetime(EPOCH + timedelta(seconds=number))
                if request.HasField("since") and line.time.ToNanoseconds() < request.since.ToNanoseconds():
                    continue
                yield container_pb2.GetLogsResponse(lines=[line])
            if not request.follow or request.container in self.ended:
                return
            self.changed.clear()
            await self.changed.wait()


class Nodes:
    """Dials the nodes that are there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.nodes: dict[str, LogNode] = {}
        self._servers: dict[str, RpcServer] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def start(self, name: str) -> LogNode:
        node = self.nodes.setdefault(name, LogNode())
        server = RpcServer(name)
        server.add(container_pb2_grpc.add_ContainerServiceServicer_to_server, node, follows={"GetLogs"})
        server.listen_unix(self._directory / f"{name}.sock")
        await server.start()
        self._servers[name] = server
        return node

    async def stop(self, name: str) -> None:
        await self._servers.pop(name).drain(0)

    async def channel(self, node: str, /) -> grpc.aio.Channel:
        if node not in self.nodes:
            raise errors.Unavailable(f"node {node} cannot be reached", reason="NODE_UNREACHABLE")
        if node not in self._channels:
            self._channels[node] = client.channel_unix(self._directory / f"{node}.sock")
        return self._channels[node]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        for name in list(self._servers):
            await self.stop(name)


class Desk:
    """A manager with its API, and stubs for it."""

    def __init__(
        self, seat_: Seat, resolver: Resolver, raft: Raft, nodes: Nodes, channel: grpc.aio.Channel
    ) -> None:
        self.seat = seat_
        self.resolver = resolver
        self.raft = raft
        self.nodes = nodes
        self.services = control_pb2_grpc.ServiceServiceStub(channel)
        self.node_service = control_pb2_grpc.NodeServiceStub(channel)
        self.tasks = control_pb2_grpc.TaskServiceStub(channel)
        self.networks = control_pb2_grpc.NetworkServiceStub(channel)
        self.secrets = control_pb2_grpc.SecretServiceStub(channel)
        self.configs = control_pb2_grpc.ConfigServiceStub(channel)
        self.watches = control_pb2_grpc.WatchServiceStub(channel)
        self.logs = control_pb2_grpc.LogServiceStub(channel)
        self.execs = control_pb2_grpc.ExecServiceStub(channel)


@contextlib.asynccontextmanager
async def desk(directory: Path) -> AsyncIterator[Desk]:
    """Serve the API of a manager that leads."""
    resolver, raft, nodes = Resolver(), Raft(), Nodes(directory)

    def furnish(made: Seat) -> None:
        manager = Manager(
            store=made.store,
            leader=made.leadership,
            callers=made.callers,
            clock=made.clock,
            new_id=new_base36_id,
        )
        add = made.server.add
        add(control_pb2_grpc.add_ServiceServiceServicer_to_server, ServiceServicer(manager, resolver))
        add(control_pb2_grpc.add_NodeServiceServicer_to_server, NodeServicer(manager, raft))
        add(control_pb2_grpc.add_TaskServiceServicer_to_server, TaskServicer(manager))
        add(control_pb2_grpc.add_NetworkServiceServicer_to_server, NetworkServicer(manager))
        add(control_pb2_grpc.add_SecretServiceServicer_to_server, SecretServicer(manager))
        add(control_pb2_grpc.add_ConfigServiceServicer_to_server, ConfigServicer(manager))
        add(control_pb2_grpc.add_ExecServiceServicer_to_server, ExecServicer(manager))
        add(
            control_pb2_grpc.add_WatchServiceServicer_to_server,
            WatchServicer(manager),
            follows=watches.FOLLOWS,
        )
        add(
            control_pb2_grpc.add_LogServiceServicer_to_server,
            LogServicer(manager, nodes, random.Random(1)),
            follows=logs.FOLLOWS,
        )

    async with seat(directory, furnish) as made:
        channel = client.channel_unix(made.path)
        try:
            yield Desk(made, resolver, raft, nodes, channel)
        finally:
            await channel.close()
            await nodes.close()
