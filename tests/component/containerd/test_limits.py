"""Limits, observed where they work: in the container's control groups and in its processes."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.yard import CGROUP_ROOT, Yard

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not (CGROUP_ROOT / "memory").is_dir(), reason="looks at files of control groups v1"),
]

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
SEEN = {
    "memory/memory.limit_in_bytes": str(64 * MIB),
    "memory/memory.soft_limit_in_bytes": str(32 * MIB),
    "memory/memory.memsw.limit_in_bytes": str(96 * MIB),
    "memory/memory.swappiness": "7",
    "cpu/cpu.shares": "512",
    "cpu/cpu.cfs_period_us": "50000",
    "cpu/cpu.cfs_quota_us": "25000",
    "cpuset/cpuset.cpus": "0",
    "cpuset/cpuset.mems": "0",
    "pids/pids.max": "50",
}


def groups(yard: Yard, container: str, names: dict[str, str]) -> dict[str, str]:
    found = {}
    for name in names:
        controller, _, file = name.partition("/")
        found[name] = (CGROUP_ROOT / controller / yard.cgroup_parent / container / file).read_text().strip()
    return found


async def test_every_limit_is_seen_and_changes_live(each: Yard) -> None:
    container = await each.create("sleep", "300", resources=GIVEN)
    pid = await each.start(container)
    assert groups(each, container, SEEN) == SEEN
    control = CGROUP_ROOT / "memory" / each.cgroup_parent / container / "memory.oom_control"
    assert "oom_kill_disable 1" in control.read_text()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "123"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [
        ["100", "200"]
    ]
    output, _ = await execute(each, container, "sh", "-c", "df -k /dev/shm | tail -1; ulimit -Hn")
    assert b" 3072 " in output
    assert output.endswith(b"\n200\n")

    change = {
        "memory/memory.limit_in_bytes": str(128 * MIB),
        "memory/memory.memsw.limit_in_bytes": str(256 * MIB),
        "cpu/cpu.shares": "256",
        "cpu/cpu.cfs_quota_us": "40000",
        "pids/pids.max": "max",
    }
    await _update(each, container, memory_bytes=128 * MIB, memory_swap_bytes=256 * MIB, cpu_shares=256,
                  cpu_quota_us=40_000, pids_limit=-1)  # fmt: skip
    assert groups(each, container, change) == change
    await _update(each, container, memory_bytes=32 * MIB, memory_swap_bytes=64 * MIB, pids_limit=30)
    lower = {"memory/memory.limit_in_bytes": str(32 * MIB), "pids/pids.max": "30"}
    assert groups(each, container, lower) == lower
    with pytest.raises(errors.Invalid, match="memory-swap"):
        await _update(each, container, memory_bytes=200 * MIB)


async def test_without_limits_it_has_the_daemons_and_no_priority_of_its(each: Yard) -> None:
    container = await each.create("sleep", "300")
    pid = await each.start(container)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "0"
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert groups(each, container, {"pids/pids.max": ""}) == {"pids/pids.max": "max"}


async def _update(yard: Yard, container: str, **fields: object) -> None:
    resources = spec_pb2.Resources(**fields)
    request = pb.UpdateContainerRequest(container=container, resources=resources)
    await client.call(yard.stub.UpdateContainer(request))
