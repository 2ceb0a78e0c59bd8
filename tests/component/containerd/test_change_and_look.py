"""Update, stats, top, diff, commit."""

from __future__ import annotations

import asyncio

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def update(yard: Yard, container: str, **fields: object) -> pb.UpdateContainerResponse:
    request = pb.UpdateContainerRequest(container=container, **fields)  # type: ignore[arg-type]
    return await client.call(yard.stub.UpdateContainer(request))


async def test_limits_change_while_it_runs(own_each: Yard) -> None:
    container = await own_each.create("sleep", "1000", resources=spec_pb2.Resources(memory_bytes=64 << 20))
    await own_each.start(container)
    assert "/proc/kcore" in (await own_each.get(container)).masked_paths
    bigger = spec_pb2.Resources(
        memory_bytes=96 << 20, memory_swap_bytes=192 << 20, nano_cpus=250_000_000, pids_limit=9
    )
    await update(own_each, container, resources=bigger)
    wanted: dict[str, int | str] = {
        "memory": 96 << 20,
        "memory_swap": 192 << 20,
        "cpu_quota": 25_000,
        "pids": 9,
    }
    assert groups.limits(own_each.cgroup_parent, container, wanted) == wanted
    await update(own_each, container, resources=spec_pb2.Resources(cpu_quota_us=-1))
    assert groups.limits(own_each.cgroup_parent, container, {"cpu_quota": "max"}) == {"cpu_quota": "max"}
    await asyncio.gather(
        update(own_each, container, resources=spec_pb2.Resources(cpu_shares=300)),
        client.call(
            own_each.stub.RenameContainer(pb.RenameContainerRequest(container=container, new_name="aa"))
        ),
        client.call(
            own_each.stub.RenameContainer(pb.RenameContainerRequest(container=container, new_name="bb"))
        ),
        update(own_each, container, resources=spec_pb2.Resources(blkio_weight=0, cpu_period_us=50_000)),
    )
    changed = (await own_each.get(container)).spec
    assert (changed.resources.cpu_shares, changed.resources.cpu_period_us) == (300, 50_000)
    other = "aa" if changed.name == "bb" else "bb"
    assert await own_each.create("true", name=other), "a name that was given up is free"
    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    await update(own_each, container, restart=always)
    found = (await own_each.get(container)).spec
    assert found.resources.memory_bytes == 96 << 20
    assert found.restart.condition == spec_pb2.RESTART_CONDITION_ALWAYS
    for bad in (spec_pb2.Resources(memory_bytes=1), spec_pb2.Resources(shm_bytes=1 << 20)):
        with pytest.raises(errors.Invalid):
            await update(own_each, container, resources=bad)
    assert (await own_each.get(container)).spec == found
    await own_each.kill_daemon()
    await own_each.start_daemon()
    assert (await own_each.get(container)).spec == found


async def test_limits_change_while_it_starts(one: Yard) -> None:
    container = await one.create("sleep", "1000", resources=spec_pb2.Resources(memory_bytes=64 << 20))
    starting = asyncio.ensure_future(one.start(container))
    async with asyncio.timeout(10):
        while container not in one.netd.sandboxes:
            await asyncio.sleep(0.001)
    await update(one, container, resources=spec_pb2.Resources(memory_bytes=128 << 20))
    await starting
    wanted: dict[str, int | str] = {"memory": 128 << 20}
    assert groups.limits(one.cgroup_parent, container, wanted) == wanted
    await one.remove(container)


async def test_ports_change_while_it_runs(one: Yard) -> None:
    network = spec_pb2.Network(mode="bridge", ports=[spec_pb2.PortBinding(host_port=81, container_port=80)])
    response = await client.call(
        one.stub.CreateContainer(
            pb.CreateContainerRequest(
                spec=spec_pb2.ContainerSpec(image="busybox", cmd=["sleep", "1000"], network=network)
            )
        )
    )
    await one.start(response.id)
    await update(
        one, response.id,
        publish_add=[spec_pb2.PortBinding(host_port=82, container_port=90)],
        publish_remove=[spec_pb2.PortBinding(host_port=81, container_port=80)],
    )  # fmt: skip
    assert [port.host_port for port in one.netd.sandboxes[response.id].ports] == [82]
    shown = (await one.get(response.id)).status.network.ports
    assert [(port.host_port, port.container_port) for port in shown] == [(82, 90)]
    with pytest.raises(errors.NotFound, match="84:91/tcp"):
        await update(one, response.id, publish_remove=[spec_pb2.PortBinding(host_port=84, container_port=91)])
    one.netd.failure = errors.AlreadyExists("port 83 is in use", reason="PORT_IN_USE")
    with pytest.raises(errors.AlreadyExists):
        await update(one, response.id, publish_add=[spec_pb2.PortBinding(host_port=83, container_port=91)])
    assert [port.host_port for port in (await one.get(response.id)).spec.network.ports] == [82]


async def test_stats_and_top(each: Yard) -> None:
    container = await each.create(
        "sh", "-c", "while :; do :; done", name="busy", resources=spec_pb2.Resources(memory_bytes=64 << 20)
    )
    pid = await each.start(container)
    call = client.stream(each.stub.GetStats(pb.GetStatsRequest(containers=["busy"])))
    first = (await anext(call)).stats[0]
    second = (await anext(call)).stats[0]
    await call.aclose()
    assert first.cpu_percent == 0
    assert second.cpu_percent > 5
    assert second.cpu_usage_ns > first.cpu_usage_ns
    assert 0 < second.memory_bytes < second.memory_limit_bytes == 64 << 20
    assert second.pids == 1
    top = await client.call(each.stub.ListProcesses(pb.ListProcessesRequest(container="busy")))
    assert top.titles[:2] == ["UID", "PID"]
    assert [row.values[1] for row in top.rows] == [str(pid)]
    with pytest.raises(errors.Invalid):
        await client.call(
            each.stub.ListProcesses(pb.ListProcessesRequest(container="busy", ps_args=["-o", "comm"]))
        )
    one_shot = client.stream(each.stub.GetStats(pb.GetStatsRequest(one_shot=True)))
    assert len([sample async for sample in one_shot]) == 1


async def test_diff_and_commit(own: Yard) -> None:
    container = await own.create("sh", "-c", "touch /new; sleep 1000")
    await own.start(container)
    async with asyncio.timeout(10):
        while not (own.imaged.layer(container) / "upper/new").exists():
            await asyncio.sleep(0.02)
    changes = [
        (change.kind, change.path)
        async for batch in client.stream(own.stub.DiffContainer(pb.DiffContainerRequest(container=container)))
        for change in batch.changes
    ]
    assert (pb.CHANGE_KIND_ADDED, "/new") in changes

    own.imaged.commit_gate.clear()
    commit = asyncio.ensure_future(
        client.call(
            own.stub.CommitContainer(pb.CommitContainerRequest(container=container, reference="made:1"))
        )
    )
    await state_becomes(own, container, groups.FROZEN)
    assert (await own.get(container)).status.state == pb.CONTAINER_STATE_RUNNING
    await own.kill_daemon()
    with pytest.raises(errors.Unavailable):
        await commit
    own.imaged.commit_gate.set()
    await own.start_daemon()
    await state_becomes(own, container, groups.THAWED)

    response = await client.call(
        own.stub.CommitContainer(
            pb.CommitContainerRequest(container=container, reference="made:1", author="me")
        )
    )
    assert response.image_id.startswith("sha256:")
    assert own.imaged.commits[-1].author == "me"
    assert {"/etc/hosts", "/etc/resolv.conf", "/proc"} <= {*own.imaged.commits[-1].mount_points}
    assert groups.freezer(own.cgroup_parent, container) == groups.THAWED


async def state_becomes(yard: Yard, container: str, state: str) -> None:
    async with asyncio.timeout(10):
        while groups.freezer(yard.cgroup_parent, container) != state:
            await asyncio.sleep(0.02)


async def test_a_container_is_thawed_when_nobody_waits_for_its_commit_any_more(own: Yard) -> None:
    container = await own.create("sleep", "1000")
    await own.start(container)
    begun = len(own.imaged.commits)
    own.imaged.commit_gate.clear()
    request = pb.CommitContainerRequest(container=container)
    first, second = (asyncio.ensure_future(client.call(own.stub.CommitContainer(request))) for _ in range(2))
    async with asyncio.timeout(10):
        while len(own.imaged.commits) < begun + 2:
            await asyncio.sleep(0.02)
    await state_becomes(own, container, groups.FROZEN)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await own.get(container)
    assert groups.freezer(own.cgroup_parent, container) == groups.FROZEN, "the other one goes on"
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await state_becomes(own, container, groups.THAWED)

    paused = asyncio.ensure_future(client.call(own.stub.CommitContainer(request)))
    await state_becomes(own, container, groups.FROZEN)
    await client.call(own.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    own.imaged.commit_gate.set()
    await paused
    assert groups.freezer(own.cgroup_parent, container) == groups.FROZEN, "it is its user who keeps it so"
    await client.call(own.stub.UnpauseContainer(pb.UnpauseContainerRequest(container=container)))
    await state_becomes(own, container, groups.THAWED)

    own.imaged.commit_gate.clear()
    last = asyncio.ensure_future(client.call(own.stub.CommitContainer(request)))
    await state_becomes(own, container, groups.FROZEN)
    await client.call(own.stub.KillContainer(pb.KillContainerRequest(container=container, signal="KILL")))
    assert (await own.get(container)).status.exit_code == 137, "a commit keeps nobody alive"
    own.imaged.commit_gate.set()
    await asyncio.gather(last, return_exceptions=True)
