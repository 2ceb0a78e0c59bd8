"""A node's containerd and imaged as the agent meets them: real gRPC on unix sockets, containers that are only records.

What they hold outlives their servers, as it does on a real node: `restart` ends the connections and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from beeyard.container.v1 import container_pb2, container_pb2_grpc, spec_pb2
from beeyard.image.v1 import image_pb2, image_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from services.kit.watch import Broadcast
from services.kit.watch import Resync as Dropped

CREATED = container_pb2.CONTAINER_STATE_CREATED
RUNNING = container_pb2.CONTAINER_STATE_RUNNING
EXITED = container_pb2.CONTAINER_STATE_EXITED
HEALTHY = container_pb2.HEALTH_STATE_HEALTHY
UNHEALTHY = container_pb2.HEALTH_STATE_UNHEALTHY

Hook = Callable[[str, str], None]


class Containerd(container_pb2_grpc.ContainerServiceServicer):
    """Containers as records."""

    def __init__(self, images: set[str]) -> None:
        self.containers: dict[str, container_pb2.Container] = {}
        self.images = images
        self.by_request: dict[str, str] = {}
        self.created: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.calls: list[str] = []
        self.failures: dict[str, list[errors.BeeyardError]] = {}
        self.start_gate: asyncio.Event | None = None
        self.starting = self.starting_max = 0
        self.hook: Hook = lambda _when, _call: None
        self.events: Broadcast[container_pb2.Event] = Broadcast(100)
        self.history: list[container_pb2.Event] = []
        self._ids = itertools.count(1)

    def of_task(self, task_id: str) -> container_pb2.Container | None:
        """Return a task's container."""
        for container in self.containers.values():
            if container.spec.labels.get("com.docker.swarm.task.id") == task_id:
                return container
        return None

    def exit(self, task_id: str, code: int, **more: object) -> None:
        """Let a task's process end."""
        container = self.of_task(task_id)
        assert container is not None
        self._exit(container, code, **more)

    def health(self, task_id: str, state: container_pb2.HealthState.ValueType, output: str = "") -> None:
        """Let a task's health check say something."""
        container = self.of_task(task_id)
        assert container is not None
        container.status.health.state = state
        container.status.health.log.add(exit_code=int(state == UNHEALTHY), output=output)
        self._publish(container, f"health_status: {state}")

    async def CreateContainer(
        self, request: container_pb2.CreateContainerRequest, _context: Context
    ) -> container_pb2.CreateContainerResponse:
        self._begin("create")
        if request.spec.image not in self.images:
            raise errors.NotFound(f"No such image: {request.spec.image}", reason="IMAGE_NOT_FOUND")
        container_id = self.by_request.get(request.request_id)
        if container_id is None:
            container_id = f"{next(self._ids):064x}"
            container = container_pb2.Container(id=container_id, name=request.spec.name, spec=request.spec)
            container.status.state = CREATED
            if request.spec.health.test:
                container.status.health.state = container_pb2.HEALTH_STATE_STARTING
            self.containers[container_id] = container
            self.by_request[request.request_id] = container_id
            self.created[request.request_id] += 1
            self._publish(container, "create")
        self.hook("after", "create")
        return container_pb2.CreateContainerResponse(id=container_id, name=request.spec.name)

    async def StartContainer(
        self, request: container_pb2.StartContainerRequest, _context: Context
    ) -> container_pb2.StartContainerResponse:
        self._begin("start")
        container = self._get(request.container)
        self.starting += 1
        self.starting_max = max(self.starting_max, self.starting)
        try:
            if self.start_gate is not None:
                await self.start_gate.wait()
        finally:
            self.starting -= 1
        if container.status.state != RUNNING:
            self.started[container.spec.labels["com.docker.swarm.task.id"]] += 1
            container.status.state = RUNNING
            container.status.pid = 1000 + int(container.id, 16)
            container.status.network.endpoints.add(
                network="bridge", ip=f"172.17.0.{int(container.id, 16) + 1}"
            )
            container.status.network.ports.extend(container.spec.network.ports)
            self._publish(container, "start")
        self.hook("after", "start")
        return container_pb2.StartContainerResponse(pid=container.status.pid)

    async def StopContainer(
        self, request: container_pb2.StopContainerRequest, _context: Context
    ) -> container_pb2.StopContainerResponse:
        self._begin("stop")
        container = self._get(request.container)
        if container.status.state == RUNNING:
            self._exit(container, 143)
        self.hook("after", "stop")
        return container_pb2.StopContainerResponse()

    async def RemoveContainer(
        self, request: container_pb2.RemoveContainerRequest, _context: Context
    ) -> container_pb2.RemoveContainerResponse:
        self._begin("remove")
        container = self.containers.get(request.container)
        if container is not None:
            if container.status.state == RUNNING:
                raise errors.FailedPrecondition("it runs", reason="CONTAINER_RUNNING")
            del self.containers[container.id]
            self._publish(container, "destroy")
        self.hook("after", "remove")
        return container_pb2.RemoveContainerResponse()

    async def ListContainers(
        self, request: container_pb2.ListContainersRequest, _context: Context
    ) -> container_pb2.ListContainersResponse:
        self._begin("list")
        (label,) = request.filters["label"].values
        found = [container for container in self.containers.values() if label in container.spec.labels]
        return container_pb2.ListContainersResponse(containers=reversed(found))

    async def GetContainer(
        self, request: container_pb2.GetContainerRequest, _context: Context
    ) -> container_pb2.GetContainerResponse:
        self._begin("get")
        return container_pb2.GetContainerResponse(container=self._get(request.container))

    async def WatchEvents(
        self, request: container_pb2.WatchEventsRequest, _context: Context
    ) -> AsyncIterator[container_pb2.WatchEventsResponse]:
        async with self.events.subscribe() as subscription:
            since = request.since.ToDatetime(tzinfo=UTC)
            for event in self.history:
                if event.time.ToDatetime(tzinfo=UTC) >= since:
                    yield container_pb2.WatchEventsResponse(event=event)
            async for item in subscription:
                if isinstance(item, Dropped):
                    yield container_pb2.WatchEventsResponse(resync=container_pb2.Resync())
                else:
                    yield container_pb2.WatchEventsResponse(event=item)

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        self.hook("before", call)
        waiting = self.failures.get(call)
        if waiting:
            raise waiting.pop(0)

    def _get(self, container_id: str) -> container_pb2.Container:
        if container_id not in self.containers:
            raise errors.NotFound(f"No such container: {container_id}", reason="CONTAINER_NOT_FOUND")
        return self.containers[container_id]

    def _exit(self, container: container_pb2.Container, code: int, **more: object) -> None:
        container.status.MergeFrom(container_pb2.ContainerStatus(exit_code=code, **more))  # type: ignore[arg-type]
        container.status.state = EXITED
        container.status.pid = 0
        self._publish(container, "die")

    def _publish(self, container: container_pb2.Container, action: str) -> None:
        event = container_pb2.Event(type="container", action=action, id=container.id)
        event.time.FromDatetime(datetime.now(UTC))
        self.history.append(event)
        self.events.publish(event)


class Imaged(image_pb2_grpc.ImageServiceServicer):
    """Images as names; `elsewhere` holds those that a pull can get."""

    def __init__(self, images: set[str]) -> None:
        self.images = images
        self.elsewhere: set[str] = set()
        self.failures: list[errors.BeeyardError] = []
        self.pulls: list[image_pb2.PullRequest] = []
        self.gate: asyncio.Event | None = None
        self.cancelled = 0

    async def Pull(
        self, request: image_pb2.PullRequest, _context: Context
    ) -> AsyncIterator[image_pb2.PullResponse]:
        self.pulls.append(request)
        if self.failures:
            raise self.failures.pop(0)
        yield image_pb2.PullResponse(progress=image_pb2.Progress(id="layer", phase="downloading"))
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if request.reference not in self.images | self.elsewhere:
            raise errors.NotFound(f"No such image: {request.reference}", reason="IMAGE_NOT_FOUND")
        self.images.add(request.reference)
        yield image_pb2.PullResponse(done=image_pb2.PullDone(reference=request.reference))


class Yard:
    """Both daemons of one node, with channels to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        images = {"web:1"}
        self.containerd = Containerd(images)
        self.imaged = Imaged(images)
        self._servers: dict[str, RpcServer] = {}
        self.channels: dict[str, grpc.aio.Channel] = {}

    async def start(self, *names: str) -> None:
        """Start daemons; all of them if none is named."""
        for name in names or ("containerd", "imaged"):
            server = RpcServer(name)
            if name == "containerd":
                server.add(
                    container_pb2_grpc.add_ContainerServiceServicer_to_server,
                    self.containerd,
                    follows={"WatchEvents"},
                )
            else:
                server.add(image_pb2_grpc.add_ImageServiceServicer_to_server, self.imaged)
            server.listen_unix(self._directory / f"{name}.sock")
            await server.start()
            self._servers[name] = server

    async def stop(self, *names: str) -> None:
        """Stop daemons; all of them if none is named."""
        for name in names or tuple(self._servers):
            await self._servers.pop(name).drain(0)

    async def restart(self, *names: str) -> None:
        """Stop and start daemons."""
        await self.stop(*names)
        await self.start(*names)

    def connect(self) -> dict[str, grpc.aio.Channel]:
        """Return channels to both daemons, of one agent's life."""
        return {
            name: client.channel_unix(self._directory / f"{name}.sock") for name in ("containerd", "imaged")
        }


@contextlib.asynccontextmanager
async def yard(directory: Path) -> AsyncIterator[Yard]:
    """Run both daemons."""
    made = Yard(directory)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def port(host_port: int, container_port: int, *, shared: bool) -> spec_pb2.PortBinding:
    """Return a binding as it is told back."""
    return spec_pb2.PortBinding(
        host_port=host_port, container_port=container_port, protocol="tcp", shared=shared
    )
