"""The agent's records as messages: what the swarm is told, and what is kept on disk. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.agent.core.facts import ASSIGNED, Container, Phase, Port, Progress, StopCause

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


def to_status(progress: Progress) -> objects_pb2.TaskStatus:
    """Return what the swarm is told of a task."""
    status = objects_pb2.TaskStatus(state=progress.state, message=progress.message, error=progress.error)
    status.since.FromDatetime(progress.since)
    container = progress.container
    if container is not None:
        status.container.container_id = container.id
        status.container.pid = container.pid
        status.container.exit_code = container.exit_code
        status.container.oom_killed = container.oom_killed
        status.container.addresses.extend(container.addresses)
        status.ports.extend(_to_port(port) for port in container.ports)
    return status


def from_status(
    status: objects_pb2.TaskStatus, now: datetime, stop_cause: StopCause = StopCause.NONE
) -> Progress:
    """Return the record of a task from the status that was last told, by us or (without a record) by the swarm."""
    container = None
    if status.container.container_id:
        container = Container(
            id=status.container.container_id,
            phase=Phase.EXITED,  # of no weight: what it does now is asked of containerd
            pid=status.container.pid,
            exit_code=status.container.exit_code,
            oom_killed=status.container.oom_killed,
            addresses=tuple(status.container.addresses),
            ports=tuple(_from_port(port) for port in status.ports),
        )
    return Progress(
        state=max(status.state, ASSIGNED),
        since=_to_datetime(status.since) if status.HasField("since") else now,
        message=status.message,
        error=status.error,
        stop_cause=stop_cause,
        container=container,
    )


def _to_port(port: Port) -> objects_pb2.PublishedPort:
    mode = objects_pb2.PUBLISH_MODE_HOST if port.host_mode else objects_pb2.PUBLISH_MODE_INGRESS
    return objects_pb2.PublishedPort(
        protocol=port.protocol, target_port=port.target_port, published_port=port.published_port, mode=mode
    )


def _from_port(port: objects_pb2.PublishedPort) -> Port:
    return Port(
        protocol=port.protocol,
        target_port=port.target_port,
        published_port=port.published_port,
        host_mode=port.mode == objects_pb2.PUBLISH_MODE_HOST,
    )


def _to_datetime(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
