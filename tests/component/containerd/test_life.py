"""Stopping, killing, pausing, restarting, renaming, waiting: what people do to a container that runs."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

TRAPS_TERM = ("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
IGNORES_TERM = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")


async def running(yard: Yard, *command: str, **fields: object) -> str:
    """Start a container and wait until it says that it is up."""
    container = await yard.create(*command, **fields)
    await yard.start(container)
    async with asyncio.timeout(10):
        while "up" not in await yard.text(container):
            await asyncio.sleep(0.02)
    return container


async def stop(yard: Yard, container: str, **fields: object) -> None:
    await client.call(yard.stub.StopContainer(pb.StopContainerRequest(container=container, **fields)))


async def test_stop_asks_then_kills(each: Yard) -> None:
    gentle = await running(each, *TRAPS_TERM)
    await stop(each, gentle)
    assert (await each.get(gentle)).status.exit_code == 3
    assert "bye" in await each.text(gentle)
    await stop(each, gentle)  # idempotent

    stubborn = await running(each, *IGNORES_TERM)
    await stop(each, stubborn, grace_ms=100)
    assert (await each.get(stubborn)).status.exit_code == 137
    assert each.remains() == []


async def test_stop_uses_the_containers_own_signal_and_grace(one: Yard) -> None:
    script = "trap 'exit 5' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done"
    container = await running(one, "sh", "-c", script, stop_signal="SIGUSR1")
    await stop(one, container)
    assert (await one.get(container)).status.exit_code == 5
    impatient = await running(one, *IGNORES_TERM, stop_grace_ms=0)
    await stop(one, impatient)
    assert (await one.get(impatient)).status.exit_code == 137


async def test_kill_sends_any_signal(each: Yard) -> None:
    script = "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"
    container = await running(each, "sh", "-c", script)
    kill = each.stub.KillContainer
    await client.call(kill(pb.KillContainerRequest(container=container, signal="HUP")))
    async with asyncio.timeout(10):
        while "hup" not in await each.text(container):
            await asyncio.sleep(0.02)
    await client.call(kill(pb.KillContainerRequest(container=container)))
    assert (await each.get(container)).status.exit_code == 137
    with pytest.raises(errors.FailedPrecondition) as refused:
        await client.call(kill(pb.KillContainerRequest(container=container)))
    assert refused.value.reason == "CONTAINER_NOT_RUNNING"
    with pytest.raises(errors.Invalid):
        await client.call(kill(pb.KillContainerRequest(container=container, signal="SIGNONE")))


async def test_pause_freezes_and_a_frozen_container_can_be_stopped_and_removed(each: Yard) -> None:
    container = await running(each, *TRAPS_TERM)
    await client.call(each.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    assert (await each.get(container)).status.state == pb.CONTAINER_STATE_PAUSED
    with pytest.raises(errors.FailedPrecondition, match="paused"):
        await each.start(container)
    with pytest.raises(errors.FailedPrecondition, match="already paused") as again:
        await client.call(each.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    assert again.value.reason == "CONTAINER_ALREADY_PAUSED"
    await client.call(each.stub.UnpauseContainer(pb.UnpauseContainerRequest(container=container)))
    assert (await each.get(container)).status.state == pb.CONTAINER_STATE_RUNNING

    await client.call(each.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    await stop(each, container)
    assert (await each.get(container)).status.exit_code == 3

    frozen = await running(each, *TRAPS_TERM)
    await client.call(each.stub.PauseContainer(pb.PauseContainerRequest(container=frozen)))
    await each.remove(frozen)
    assert each.remains() == []


async def test_remove_needs_force_for_what_runs(one: Yard) -> None:
    container = await running(one, *IGNORES_TERM)
    with pytest.raises(errors.FailedPrecondition) as refused:
        await one.remove(container, force=False)
    assert refused.value.reason == "CONTAINER_RUNNING"
    await one.remove(container)
    assert one.remains() == []
    assert one.state_left() == []
    with pytest.raises(errors.NotFound):
        await one.remove(container)
    await client.call(
        one.stub.RemoveContainer(pb.RemoveContainerRequest(container=container, ignore_missing=True))
    )


async def test_restart_policy(one: Yard) -> None:
    policy = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ON_FAILURE, max_retries=2)
    container = await one.create("sh", "-c", "echo run; exit 4", restart=policy)
    ended = await one.armed_wait(container, pb.WAIT_CONDITION_NEXT_EXIT)
    await one.start(container)
    await ended
    while (found := await one.get(container)).status.state != pb.CONTAINER_STATE_EXITED:
        an_end = await one.armed_wait(container, pb.WAIT_CONDITION_NOT_RUNNING)
        assert (await an_end).exit_code == 4
    assert found.status.restart_count == 2
    assert (await one.text(container)).count("run") == 3

    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    again = await one.create("sh", "-c", "sleep 0.2; exit 6", restart=always)
    await one.start(again)
    assert (await (await one.armed_wait(again, pb.WAIT_CONDITION_NOT_RUNNING))).exit_code == 6
    await one.remove(again, force=True)

    keeper = await one.create("sleep", "100", restart=always)
    first = await one.start(keeper)
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(10):
        while (again := (await one.get(keeper)).status.pid) in (0, first):
            await asyncio.sleep(0.02)
    assert again != first
    await stop(one, keeper, grace_ms=0)
    await asyncio.sleep(0.3)  # longer than the first delay: a stop by the user is final
    assert (await one.get(keeper)).status.state == pb.CONTAINER_STATE_EXITED


async def test_restart_by_the_user(one: Yard) -> None:
    container = await running(one, *TRAPS_TERM)
    before = (await one.get(container)).status.pid
    await client.call(one.stub.RestartContainer(pb.RestartContainerRequest(container=container)))
    after = await one.get(container)
    assert after.status.state == pb.CONTAINER_STATE_RUNNING
    assert after.status.pid not in (0, before)
    assert after.status.restart_count == 0
    await stop(one, container)
    await client.call(one.stub.RestartContainer(pb.RestartContainerRequest(container=container)))
    assert (await one.get(container)).status.state == pb.CONTAINER_STATE_RUNNING


async def test_conmon_killed_means_container_killed(each: Yard) -> None:
    container = await each.create("sleep", "100")
    await each.start(container)
    (conmon,) = each.conmons()
    os.kill(conmon, signal.SIGKILL)
    found = await each.until_state(container, pb.CONTAINER_STATE_EXITED)
    assert found.status.exit_code == 255
    assert "monitor" in found.status.error
    await each.remove(container)
    assert each.remains() == []


async def test_names(one: Yard) -> None:
    first = await one.create("true", name="web")
    with pytest.raises(errors.AlreadyExists) as taken:
        await one.create("true", name="web")
    assert taken.value.reason == "NAME_IN_USE"
    await client.call(one.stub.RenameContainer(pb.RenameContainerRequest(container="/web", new_name="/old")))
    second = await one.create("true", name="/web")
    assert {entry.name for entry in await one.list()} == {"old", "web"}
    assert (await one.get("old")).id == first
    assert (await one.get(second[:8])).name == "web"
    with pytest.raises(errors.Invalid, match="empty"):
        await one.get("")
    for bad in ("x", "a b", "../x", "-x", "/", "//web", "a" * 256, "f" * 64):
        with pytest.raises(errors.Invalid):
            await one.create("true", name=bad)
    made_up = await one.get(await one.create("true"))
    assert made_up.name.count("_") == 1


async def test_the_layers_of_its_root_are_told_if_asked_for(one: Yard) -> None:
    container = await one.create("true")
    assert not (await one.get(container)).HasField("root_layers")
    request = pb.GetContainerRequest(container=container, root_layers=True)
    found = (await client.call(one.stub.GetContainer(request))).container.root_layers
    assert [*found.lower_dirs, found.upper_dir, found.work_dir].count("") == 0 < len(found.lower_dirs)
    assert found.merged_dir == f"{one.run}/containerd/c/{container}/rootfs"


async def test_create_is_idempotent_with_a_request_id(one: Yard) -> None:
    request = pb.CreateContainerRequest(
        spec=spec_pb2.ContainerSpec(image="busybox", network=spec_pb2.Network(mode="none")), request_id="r1"
    )
    answers = await asyncio.gather(*(client.call(one.stub.CreateContainer(request)) for _ in range(5)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await one.list()) == 1


async def test_wait_for_what_does_not_run_ends_at_once(one: Yard) -> None:
    container = await one.create("true")
    waiting = await one.armed_wait(container, pb.WAIT_CONDITION_NOT_RUNNING)
    assert (await waiting).exit_code == 0
    removed = await one.armed_wait(container, pb.WAIT_CONDITION_REMOVED)
    await one.remove(container)
    await removed


async def test_events_past_and_live(one: Yard) -> None:
    twice = "test -e /again && sleep 1000; touch /again"
    container, _ = await one.run_to_end("sh", "-c", twice, name="seen", labels={"k": "v"})
    await one.start(container)
    await one.remove(container)
    call = one.stub.WatchEvents(
        pb.WatchEventsRequest(
            since={"seconds": 1}, filters={"container": {"values": ["seen"]}}, mark_live=True
        )
    )
    actions = []
    async for response in client.stream(call):
        if response.HasField("live"):
            break
        assert response.event.attributes["k"] == "v"
        belongs = [
            response.event.attributes[key]
            for key in ("exitCode", "signal")
            if key in response.event.attributes
        ]
        actions.append(" ".join([response.event.action, *belongs]))
    assert actions == ["create", "start", "die 0", "start", "kill 9", "die 137", "destroy"]
    call.cancel()


async def test_list_filters_and_pages(one: Yard) -> None:
    names = [f"c{number}" for number in range(5)]
    for name in names:
        await one.create("true", name=name, labels={"odd": str(int(name[1]) % 2)})
    assert [entry.name for entry in await one.list()] == names[::-1]
    odd = await one.list(filters={"label": {"values": ["odd=1"]}})
    assert {entry.name for entry in odd} == {"c1", "c3"}
    assert {entry.name for entry in await one.list(filters={"name": {"values": ["^c[04]$"]}})} == {"c0", "c4"}
    assert [entry.name for entry in await one.list(last=2)] == ["c4", "c3"]
    assert (
        await client.call(one.stub.ListContainers(pb.ListContainersRequest())) == pb.ListContainersResponse()
    )
    seen, token = [], ""
    while True:
        request = pb.ListContainersRequest(all=True, page_size=2, page_token=token)
        page = await client.call(one.stub.ListContainers(request))
        seen += [entry.name for entry in page.containers]
        token = page.next_page_token
        if not token:
            break
    assert seen == names[::-1]
    with pytest.raises(errors.Invalid) as unknown:
        await one.list(filters={"colour": {"values": ["red"]}})
    assert unknown.value.reason == "FILTER_INVALID"


async def test_prune_removes_what_does_not_run(one: Yard) -> None:
    await one.create("true", name="stopped")
    await running(one, *TRAPS_TERM, name="running")
    pruned = await client.call(one.stub.PruneContainers(pb.PruneContainersRequest()))
    assert len(pruned.deleted) == 1
    assert [entry.name for entry in await one.list()] == ["running"]
