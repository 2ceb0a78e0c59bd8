"""The containerd and the imaged of this node, as the agent uses them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from beeyard.container.v1 import container_pb2, container_pb2_grpc, filter_pb2
from beeyard.image.v1 import image_pb2, image_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.agent.core import containers
from services.swarmd.agent.core.order import TASK_ID_LABEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    import grpc.aio

    from services.swarmd.agent.core.facts import Container
    from services.swarmd.agent.core.order import Order

CREATE_TIMEOUT_S = 120.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
"""What a stop may take beyond the container's grace period."""
READ_TIMEOUT_S = 15.0
_PAGE_SIZE = 200
_GRACE_DEFAULT_MS = 10_000
_POLICIES = {
    "always": image_pb2.PULL_POLICY_ALWAYS,
    "never": image_pb2.PULL_POLICY_NEVER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContainer:
    """A container of this node that belongs to a task."""

    task_id: str
    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something happened to a container of a task."""

    container_id: str
    action: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Events were dropped: list the containers again."""


EngineEvent: TypeAlias = Happened | Lost


class Engine:
    """Calls the two daemons. Every method raises `errors.BeeyardError`, `Unavailable` while the daemon is away."""

    def __init__(self, containerd: grpc.aio.Channel, imaged: grpc.aio.Channel) -> None:
        self._containers = container_pb2_grpc.ContainerServiceStub(containerd)
        self._images = image_pb2_grpc.ImageServiceStub(imaged)

    async def create(self, order: Order) -> str:
        """Make a container, or find the one that this order has made before; return its id."""
        request = container_pb2.CreateContainerRequest(spec=order.spec, request_id=order.request_id)
        response = await client.call(self._containers.CreateContainer(request, timeout=CREATE_TIMEOUT_S))
        return response.id

    async def start(self, container_id: str) -> None:
        """Start a container; one that runs is left alone."""
        request = container_pb2.StartContainerRequest(container=container_id)
        await client.call(self._containers.StartContainer(request, timeout=START_TIMEOUT_S))

    async def stop(self, container_id: str, grace_ms: int | None) -> None:
        """Stop a container by its own signal and return when it has ended.

        Args:
            container_id: Which.
            grace_ms: The grace period that its spec names; None if it names none, negative for one without end.
        """
        request = container_pb2.StopContainerRequest(container=container_id)
        timeout_s = STOP_TIMEOUT_S + (_GRACE_DEFAULT_MS if grace_ms is None else grace_ms) / 1000
        endless = grace_ms is not None and grace_ms < 0
        await client.call(self._containers.StopContainer(request, timeout=None if endless else timeout_s))

    async def remove(self, container_id: str) -> None:
        """Remove a stopped container with its anonymous volumes; a missing one is fine."""
        request = container_pb2.RemoveContainerRequest(
            container=container_id, volumes=True, ignore_missing=True
        )
        await client.call(self._containers.RemoveContainer(request, timeout=STOP_TIMEOUT_S))

    async def inspect(self, container_id: str) -> TaskContainer | None:
        """Return a container; None if it is not there or is no task's."""
        request = container_pb2.GetContainerRequest(container=container_id)
        try:
            response = await client.call(self._containers.GetContainer(request, timeout=READ_TIMEOUT_S))
        except errors.NotFound:
            return None
        return _task_container(response.container)

    async def list(self) -> list[TaskContainer]:
        """Return all containers of tasks, whatever their state, newest first."""
        found: list[TaskContainer] = []
        page_token = ""
        while True:
            request = container_pb2.ListContainersRequest(
                all=True,
                filters={"label": filter_pb2.StringList(values=[TASK_ID_LABEL])},
                page_size=_PAGE_SIZE,
                page_token=page_token,
            )
            page = await client.call(self._containers.ListContainers(request, timeout=READ_TIMEOUT_S))
            found.extend(filter(None, map(_task_container, page.containers)))
            page_token = page.next_page_token
            if not page_token:
                return found

    async def events(self, since: datetime) -> AsyncGenerator[EngineEvent, None]:
        """Yield what happened to tasks' containers since a moment, then what happens, until containerd goes away."""
        request = container_pb2.WatchEventsRequest(
            filters={
                "type": filter_pb2.StringList(values=["container"]),
                "label": filter_pb2.StringList(values=[TASK_ID_LABEL]),
            }
        )
        request.since.FromDatetime(since)
        responses = client.stream(self._containers.WatchEvents(request))
        async with contextlib.aclosing(responses):
            async for response in responses:
                if response.HasField("resync"):
                    yield Lost()
                else:
                    yield Happened(container_id=response.event.id, action=response.event.action)

    async def pull(self, reference: str, *, policy: str, platform: str, registry_auth: str) -> None:
        """Make an image present: from here, from a peer, or from its registry."""
        request = image_pb2.PullRequest(
            reference=reference,
            platform=platform,
            policy=_POLICIES.get(policy, image_pb2.PULL_POLICY_MISSING),
            registry_auth=registry_auth,
        )
        responses = client.stream(self._images.Pull(request))
        async with contextlib.aclosing(responses):
            async for response in responses:
                if response.HasField("done"):
                    return
        raise errors.Unavailable(f"the pull of {reference} ended without a result", reason="CANCELLED")


def _task_container(container: container_pb2.Container) -> TaskContainer | None:
    task_id = containers.task_id_of(container)
    return TaskContainer(task_id=task_id, container=containers.from_pb(container)) if task_id else None
