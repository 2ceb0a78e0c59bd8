"""Limits, observed where they work: in the container's control groups and in its processes."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.execution import execute
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

MIB = 1 << 20
GIVEN = spec_pb2.Resources(
    memory_bytes=64 * MIB,
    memory_reservation_bytes=32 * MIB,
    memory_swap_bytes=96 * MIB,
    memory_swappiness=7,
    oom_kill_disable=True,
    oom_score_adj=123,
    cpu_shares=512,
    cpu_period_us=50_000,
    cpu_quota_us=25_000,
    cpuset_cpus="0",
    cpuset_mems="0",
    pids_limit=50,
    ulimits=[
        spec_pb2.Ulimit(name="nofile", soft=100, hard=200),
        spec_pb2.Ulimit(name="core", soft=0, hard=0),
    ],
    shm_bytes=3 * MIB,
)
SEEN: dict[str, int | str] = {
    "memory": 64 * MIB,
    "memory_reservation": 32 * MIB,
    "memory_swap": 96 * MIB,
    "memory_swappiness": 7,
    "oom_kill_disable": 1,
    "cpu_shares": 512,
    "cpu_period": 50_000,
    "cpu_quota": 25_000,
    "cpuset_cpus": "0",
    "cpuset_mems": "0",
    "pids": 50,
}


async def test_every_limit_is_seen_and_changes_live(each: Yard) -> None:
    container = await each.create("sleep", "300", resources=GIVEN)
    pid = await each.start(container)
    assert groups.limits(each.cgroup_parent, container, SEEN) == groups.expected(SEEN)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "123"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [
        ["100", "200"]
    ]
    output, _ = await execute(each, container, "sh", "-c", "df -k /dev/shm | tail -1; ulimit -Hn")
    assert b" 3072 " in output
    assert output.endswith(b"\n200\n")

    change: dict[str, int | str] = {
        "memory": 128 * MIB,
        "memory_swap": 256 * MIB,
        "cpu_shares": 256,
        "cpu_quota": 40_000,
        "cpu_period": 50_000,
        "pids": "max",
    }
    await _update(each, container, memory_bytes=128 * MIB, memory_swap_bytes=256 * MIB, cpu_shares=256,
                  cpu_quota_us=40_000, pids_limit=-1)  # fmt: skip
    assert groups.limits(each.cgroup_parent, container, change) == change
    await _update(each, container, memory_bytes=32 * MIB, memory_swap_bytes=64 * MIB, pids_limit=30)
    lower: dict[str, int | str] = {"memory": 32 * MIB, "memory_swap": 64 * MIB, "pids": 30}
    assert groups.limits(each.cgroup_parent, container, lower) == lower
    with pytest.raises(errors.Invalid, match="memory-swap"):
        await _update(each, container, memory_bytes=200 * MIB)


async def test_without_limits_it_has_the_daemons_and_no_priority_of_its(each: Yard) -> None:
    container = await each.create("sleep", "300")
    pid = await each.start(container)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "0"
    assert each.process is not None
    of_the_daemon = resource.prlimit(each.process.pid, resource.RLIMIT_NOFILE)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == of_the_daemon
    assert groups.limits(each.cgroup_parent, container, {"pids": "max"}) == {"pids": "max"}


async def _update(yard: Yard, container: str, **fields: object) -> None:
    resources = spec_pb2.Resources(**fields)
    request = pb.UpdateContainerRequest(container=container, resources=resources)
    await client.call(yard.stub.UpdateContainer(request))
