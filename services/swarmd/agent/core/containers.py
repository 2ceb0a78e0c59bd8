"""From what containerd says of a container to the facts that a task is decided from. Pure."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2
from services.swarmd.agent.core.facts import Container, Health, Phase, Port
from services.swarmd.agent.core.order import TASK_ID_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.container.v1 import spec_pb2

_LIVING = frozenset(
    {
        container_pb2.CONTAINER_STATE_RUNNING,
        container_pb2.CONTAINER_STATE_PAUSED,
        container_pb2.CONTAINER_STATE_RESTARTING,
    }
)
_HEALTH = {
    container_pb2.HEALTH_STATE_STARTING: Health.STARTING,
    container_pb2.HEALTH_STATE_HEALTHY: Health.HEALTHY,
    container_pb2.HEALTH_STATE_UNHEALTHY: Health.UNHEALTHY,
}
_HEALTH_OUTPUT_CHARS_MAX = 200


def task_id_of(container: container_pb2.Container) -> str:
    """Return the id of the task that a container was made for; empty if it is no task's."""
    return container.spec.labels.get(TASK_ID_LABEL, "")


def from_pb(container: container_pb2.Container) -> Container:
    """Return the facts."""
    status = container.status
    finished_at = status.finished_at.ToDatetime(tzinfo=UTC) if status.HasField("finished_at") else None
    return Container(
        id=container.id,
        phase=_phase(status.state),
        pid=status.pid,
        exit_code=status.exit_code,
        oom_killed=status.oom_killed,
        error=status.error,
        health=_health(status),
        health_output=_health_output(status),
        addresses=tuple(endpoint.ip for endpoint in status.network.endpoints if endpoint.ip),
        ports=tuple(_ports(status.network.ports)),
        finished_at=finished_at,
    )


def _phase(state: container_pb2.ContainerState.ValueType) -> Phase:
    if state in _LIVING:
        return Phase.RUNNING
    if state == container_pb2.CONTAINER_STATE_CREATED:
        return Phase.CREATED
    return Phase.EXITED


def _health(status: container_pb2.ContainerStatus) -> Health:
    return _HEALTH.get(status.health.state, Health.NONE) if status.HasField("health") else Health.NONE


def _health_output(status: container_pb2.ContainerStatus) -> str:
    failed = [result for result in status.health.log if result.exit_code != 0]
    return failed[-1].output.strip()[:_HEALTH_OUTPUT_CHARS_MAX] if failed else ""


def _ports(bindings: Iterable[spec_pb2.PortBinding]) -> Iterable[Port]:
    for binding in bindings:
        last = max(binding.container_port_end, binding.container_port)
        for offset in range(last - binding.container_port + 1):
            yield Port(
                protocol=binding.protocol or "tcp",
                target_port=binding.container_port + offset,
                published_port=binding.host_port + offset,
                host_mode=not binding.shared,
            )
