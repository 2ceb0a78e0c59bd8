"""Five nodes, and what a swarm promises: spread, failover, replacement, drain, quorum.

One playground serves all tests of this file; each leaves it as it found it: five nodes ready and active, no service.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.swarm.lab import Lab, lab, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = ("manager-1", "manager-2", "manager-3", "worker-1", "worker-2")
MANAGERS = NODES[:3]


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    yield from lab("accept", "--managers", "3", "--workers", "2")


@pytest.fixture
def web(swarm: Lab) -> Iterator[str]:
    """A service of five tasks, one on each node."""
    swarm.ctl("manager-1", "service", "create", "--detach", "--name", "web", "--replicas", "5", "web:1")
    swarm.wait_running("manager-1", "web", 5)
    yield "web"
    swarm.ctl("manager-1", "service", "rm", "web")
    wait_until("the containers are gone", lambda: not swarm.container_pids())


def some_other(leader: str) -> str:
    return next(name for name in MANAGERS if name != leader)


def test_the_image_of_one_node_runs_on_all_and_scaling_spreads(swarm: Lab, web: str) -> None:
    assert swarm.spread("manager-2", web) == dict.fromkeys(NODES, 1)
    swarm.ctl("manager-3", "service", "scale", "--detach", "web=12")
    swarm.wait_running("manager-1", web, 12)
    assert sorted(swarm.spread("manager-1", web).values()) == [2, 2, 2, 3, 3]
    swarm.ctl("manager-1", "service", "scale", "--detach", "web=5")
    swarm.wait_running("manager-1", web, 5)
    assert swarm.spread("manager-1", web) == dict.fromkeys(NODES, 1), "scaling down keeps the spread"


def test_the_death_of_the_leader_costs_seconds_and_no_container(swarm: Lab, web: str) -> None:
    before = swarm.container_pids()
    leader = swarm.leader("manager-1")
    other = some_other(leader)
    killed_at = time.monotonic()
    old_pid = swarm.crash(leader, "swarmd")
    new = wait_until(
        "another manager leads", lambda: (found := swarm.leader(other)) and found != leader and found
    )
    took = time.monotonic() - killed_at
    print(f"new leader {new} after {took:.2f} s")
    swarm.ctl(other, "service", "scale", "--detach", "web=6")
    swarm.wait_running(other, web, 6)
    swarm.wait_back(leader, "swarmd", old_pid)
    wait_until(
        "all three managers are in reach",
        lambda: (
            swarm.try_ctl(other, "node", "ls", "--format", "{{.ManagerStatus}}")
            .out.split()
            .count("Reachable")
            == 2
        ),
    )
    swarm.ctl(leader, "service", "scale", "--detach", "web=5")
    swarm.wait_running(other, web, 5)
    after = swarm.container_pids()
    kept = [container for container in before if after.get(container) == before[container]]
    assert len(kept) >= 4, "scaling to 6 and back may replace at most one container"
    assert all(after[container] == before[container] for container in before if container in after)


@pytest.mark.parametrize("daemon", ["imaged", "containerd", "netd", "swarmd"])
def test_the_death_of_a_daemon_touches_no_container(swarm: Lab, web: str, daemon: str) -> None:
    before = swarm.container_pids()
    old_pid = swarm.crash("worker-1", daemon)
    swarm.wait_back("worker-1", daemon, old_pid)
    time.sleep(3)  # longer than a heartbeat: whatever a recovery would do wrongly, it would have done
    assert swarm.container_pids() == before
    assert swarm.spread("manager-1", web) == dict.fromkeys(NODES, 1)


def test_a_killed_task_is_replaced_after_the_restart_delay(swarm: Lab, web: str) -> None:
    swarm.ctl("manager-1", "service", "update", "--detach", "--restart-delay", "1s", web)
    swarm.wait_running("manager-1", web, 5)
    wait_until("the update is through", lambda: _update_state(swarm, web) in ("completed", ""), 120)
    victim, pid = next(iter(swarm.container_pids().items()))
    os.kill(pid, signal.SIGKILL)
    wait_until("it is replaced", lambda: victim not in (now := swarm.container_pids()) and len(now) == 5)
    failed = [
        task
        for task in swarm.rows("manager-1", "service", "ps", web)
        if task["CurrentState"].startswith("Failed")
    ]
    assert len(failed) == 1
    assert "137" in failed[0]["Error"]


def _update_state(swarm: Lab, service: str) -> str:
    view = swarm.inspect("manager-1", "service", "inspect", service)
    return str(view.get("UpdateStatus", {}).get("State", ""))


def test_a_lost_node_loses_its_tasks_and_returns_without_duplicates(swarm: Lab, web: str) -> None:
    swarm.command("kill", "worker-2")
    killed_at = time.monotonic()
    wait_until("its tasks run elsewhere", lambda: _spread_without(swarm, web, "worker-2"), 90)
    print(f"tasks of a dead node run elsewhere after {time.monotonic() - killed_at:.1f} s")
    swarm.command("start", "worker-2")
    wait_until("the node is ready again", lambda: _node(swarm, "worker-2")["Status"] == "Ready")
    time.sleep(3)
    swarm.wait_running("manager-1", web, 5)
    assert "worker-2" not in swarm.spread("manager-1", web), "what moved away stays away"
    assert not swarm.ctl("worker-2", "ps", "-q").split(), "no duplicate runs on the node that returned"
    swarm.ctl("manager-1", "service", "scale", "--detach", "web=6")
    swarm.wait_running("manager-1", web, 6)
    assert swarm.spread("manager-1", web)["worker-2"] == 1, "new tasks go to the emptiest node"


def _spread_without(swarm: Lab, service: str, node: str) -> bool:
    spread = swarm.spread("manager-1", service)
    return node not in spread and sum(spread.values()) == 5


def _node(swarm: Lab, name: str) -> dict[str, str]:
    return next(row for row in swarm.rows("manager-1", "node", "ls") if row["Hostname"] == name)


def test_drain_moves_tasks_and_active_brings_the_node_back(swarm: Lab, web: str) -> None:
    swarm.ctl("manager-1", "node", "update", "--availability", "drain", "worker-1")
    wait_until("worker-1 is empty", lambda: _spread_without(swarm, web, "worker-1"))
    assert _node(swarm, "worker-1")["Availability"] == "Drain"
    swarm.ctl("manager-1", "node", "update", "--availability", "active", "worker-1")
    swarm.ctl("manager-1", "service", "scale", "--detach", "web=6")
    swarm.wait_running("manager-1", web, 6)
    assert swarm.spread("manager-1", web)["worker-1"] == 1


def test_without_a_quorum_writes_fail_at_once_and_nothing_is_lost(swarm: Lab, web: str) -> None:
    swarm.ctl("manager-1", "service", "update", "--detach", "--label-add", "acknowledged=yes", web)
    for name in ("manager-2", "manager-3"):
        swarm.command("kill", name, "swarmd")
    wait_until("manager-1 knows that it is alone", lambda: not swarm.leader("manager-1"))
    started = time.monotonic()
    refused = swarm.try_ctl("manager-1", "service", "scale", "--detach", "web=7")
    assert refused.code != 0
    assert "The swarm does not have a leader" in refused.err
    assert time.monotonic() - started < 15
    stale = swarm.try_ctl("manager-1", "service", "ls")
    assert stale.code == 0
    assert "web" in stale.out
    assert "out of date" in stale.err
    assert len(swarm.container_pids()) == 5, "what runs goes on"
    for name in ("manager-2", "manager-3"):
        swarm.command("start", name, "swarmd")
    wait_until("there is a leader again", lambda: swarm.leader("manager-1"))
    view = swarm.inspect("manager-1", "service", "inspect", web)
    assert view["Spec"]["Labels"] == {"acknowledged": "yes"}
    swarm.ctl("manager-2", "service", "scale", "--detach", "web=7")
    swarm.wait_running("manager-3", web, 7)


def test_a_published_port_answers_from_outside(swarm: Lab) -> None:
    swarm.ctl(
        "manager-1",
        *("service", "create", "--detach", "--name", "page", "--replicas", "5"),
        *("--publish", "8080:80", "web:1"),
    )
    swarm.wait_running("manager-1", "page", 5)
    try:
        for node in swarm.nodes().values():
            url = f"http://{node['address']}:8080/cgi-bin/index.cgi"
            playground = "deploy/playground"
            got = run(
                [
                    playground,
                    "exec",
                    "--name",
                    swarm.name,
                    "client",
                    "--",
                    "curl",
                    "-sS",
                    "--max-time",
                    "10",
                    url,
                ]
            )
            assert got.out.startswith("hello from "), f"{node['name']}: {got.err}"
        second = swarm.try_ctl(
            "manager-2",
            *("service", "create", "--detach", "--name", "other", "--publish", "8080:81", "web:1"),
        )
        assert second.code != 0
        assert "port '8080' is already in use by service 'page'" in second.err
        assert "other" not in swarm.ctl("manager-1", "service", "ls")
    finally:
        swarm.ctl("manager-1", "service", "rm", "page")
        wait_until("the containers are gone", lambda: not swarm.container_pids())
