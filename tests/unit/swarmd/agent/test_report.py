"""The agent's records and what is told of them."""

from __future__ import annotations

from datetime import UTC, datetime

from beeyard.container.v1 import container_pb2, spec_pb2
from beeyard.swarm.v1 import objects_pb2
from services.swarmd.agent.core import containers, report
from services.swarmd.agent.core.facts import (
    ASSIGNED,
    FAILED,
    Container,
    Health,
    Phase,
    Port,
    Progress,
    StopCause,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_record_survives_the_disk() -> None:
    before = Progress(
        state=FAILED,
        since=NOW,
        message="failed",
        error="task: non-zero exit (3)",
        stop_cause=StopCause.ASKED,
        container=Container(
            id="c",
            phase=Phase.EXITED,
            pid=9,
            exit_code=3,
            oom_killed=True,
            addresses=("172.17.0.2",),
            ports=(Port(protocol="udp", target_port=53, published_port=5353, host_mode=True),),
        ),
    )
    assert report.from_status(report.to_status(before), NOW, StopCause.ASKED) == before


def test_without_a_record_a_task_begins_where_the_swarm_saw_it() -> None:
    fresh = report.from_status(objects_pb2.TaskStatus(), NOW)
    assert (fresh.state, fresh.since, fresh.container) == (ASSIGNED, NOW, None)


def test_facts_are_read_from_containerd() -> None:
    container = container_pb2.Container(
        id="c",
        spec=spec_pb2.ContainerSpec(labels={"com.docker.swarm.task.id": "t"}),
        status=container_pb2.ContainerStatus(
            state=container_pb2.CONTAINER_STATE_PAUSED,
            pid=4,
            health=container_pb2.Health(
                state=container_pb2.HEALTH_STATE_UNHEALTHY,
                log=[
                    container_pb2.HealthResult(exit_code=1, output="first\n"),
                    container_pb2.HealthResult(exit_code=1, output="last\n"),
                    container_pb2.HealthResult(exit_code=0, output="fine\n"),
                ],
            ),
            network=container_pb2.NetworkStatus(
                endpoints=[container_pb2.EndpointStatus(ip="172.17.0.2")],
                ports=[
                    spec_pb2.PortBinding(
                        host_port=8080, container_port=80, container_port_end=81, shared=True
                    )
                ],
            ),
        ),
    )
    facts = containers.from_pb(container)
    assert containers.task_id_of(container) == "t"
    assert (facts.phase, facts.pid, facts.health, facts.health_output) == (
        Phase.RUNNING,
        4,
        Health.UNHEALTHY,
        "last",
    )
    assert facts.addresses == ("172.17.0.2",)
    assert [(port.published_port, port.target_port, port.host_mode) for port in facts.ports] == [
        (8080, 80, False),
        (8081, 81, False),
    ]
