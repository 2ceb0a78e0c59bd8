"""A service's health check decides when its tasks run, when they are replaced, and whether an update goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.swarm.lab import Lab, lab, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

NODE = "manager-1"


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    yield from lab("sick", "--managers", "1", "--workers", "0")


def containers(swarm: Lab, health: str) -> list[str]:
    """Ids of the containers of this health."""
    return swarm.ctl(NODE, "ps", "-q", "--filter", f"health={health}").split()


def states(swarm: Lab) -> list[str]:
    """What the wanted tasks do: Starting, Running, …"""
    tasks = swarm.rows(NODE, "service", "ps", "--filter", "desired-state=running", "web")
    return sorted(task["CurrentState"].split()[0] for task in tasks)


def make_well(swarm: Lab) -> None:
    """Let the check of a starting container pass."""
    (container,) = wait_until("one is starting", lambda: containers(swarm, "starting"))
    swarm.ctl(NODE, "exec", container, "sh", "-c", "echo good > /tmp/well")


def test_health_decides(swarm: Lab) -> None:
    check = ["--health-cmd", "cat /tmp/well", "--health-interval", "300ms", "--health-retries", "2"]
    patience = ["--health-start-period", "90s", "--health-start-interval", "300ms"]
    create = ["service", "create", "--detach", "--name", "web", "--restart-delay", "200ms"]
    swarm.ctl(NODE, *create, *check, *patience, "web:1")
    wait_until("it waits for its health", lambda: states(swarm) == ["Starting"])
    assert swarm.running(NODE, "web") == []
    make_well(swarm)
    wait_until("it runs", lambda: states(swarm) == ["Running"])

    (ill,) = containers(swarm, "healthy")
    swarm.ctl(NODE, "exec", ill, "sh", "-c", "echo > /tmp/well; exec /bin/busybox rm /tmp/well")
    wait_until("another one takes its place", lambda: containers(swarm, "starting"))
    (error,) = [
        task["Error"] for task in swarm.rows(NODE, "service", "ps", "--no-trunc", "web") if task["Error"]
    ]
    assert error.strip('"').startswith("unhealthy container: cat: ")
    make_well(swarm)
    wait_until("it runs again", lambda: states(swarm) == ["Running"])

    swarm.ctl(NODE, "service", "update", "--detach", "--replicas", "2", "web")
    wait_until("a second one starts", lambda: states(swarm) == ["Running", "Starting"])
    make_well(swarm)
    wait_until("both run", lambda: states(swarm) == ["Running", "Running"])
    old = set(containers(swarm, "healthy"))
    swarm.ctl(NODE, "service", "update", "--detach", "--env-add", "A=b", "web")
    wait_until("the first new one starts", lambda: containers(swarm, "starting"))
    assert states(swarm) == ["Running", "Starting"], "the update waits for it"
    assert set(containers(swarm, "healthy")) < old
    make_well(swarm)
    wait_until("the update goes on", lambda: not old & set(containers(swarm, "healthy")))
    make_well(swarm)
    wait_until("both are new", lambda: states(swarm) == ["Running", "Running"])
