"""The daemon is killed at rest: containers live on, and nothing is lost or left. At every recorded step: `crash`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.neighbours import serve_imaged, serve_netd
from tests.component.containerd.yard import Yard, spec

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_containers_outlive_the_daemon(own_each: Yard) -> None:
    script = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo line $n; sleep 0.01; done; exit 42"
    talker = await own_each.create("sh", "-c", script)
    pid = await own_each.start(talker)
    brief = await own_each.create("sh", "-c", "sleep 0.3; exit 9")
    await own_each.start(brief)
    frozen = await own_each.create("sleep", "100")
    await own_each.start(frozen)
    await client.call(own_each.stub.PauseContainer(pb.PauseContainerRequest(container=frozen)))

    word = b"hush-hush-hush"
    key = spec_pb2.InlineFile(path="/run/secrets/key", data=word)
    secretive = await own_each.create("sh", "-c", "cat /run/secrets/key; exec sleep 100", files=[key])
    await own_each.start(secretive)
    records = list((own_each.root / "containerd").glob("state.db*"))
    readable = [
        path.name for path in records for form in (word, base64.b64encode(word)) if form in path.read_bytes()
    ]
    assert (len(records), readable) == (3, []), "secrets reach no disk"

    await own_each.kill_daemon()
    await asyncio.sleep(0.6)  # one container ends while nobody is there
    await own_each.start_daemon()

    found = await own_each.get(talker)
    assert (found.status.state, found.status.pid) == (pb.CONTAINER_STATE_RUNNING, pid)
    missed = await own_each.until_state(brief, pb.CONTAINER_STATE_EXITED)
    assert missed.status.exit_code == 9
    assert (await own_each.get(frozen)).status.state == pb.CONTAINER_STATE_PAUSED
    await client.call(own_each.stub.UnpauseContainer(pb.UnpauseContainerRequest(container=frozen)))
    await own_each.remove(frozen)
    ended = await own_each.until_state(talker, pb.CONTAINER_STATE_EXITED)
    assert ended.status.exit_code == 42
    lines = (await own_each.text(talker)).splitlines()
    assert lines == [f"line {number}" for number in range(1, 401)]
    again = pb.RestartContainerRequest(container=secretive, grace_ms=0)
    await client.call(own_each.stub.RestartContainer(again))
    async with asyncio.timeout(10):
        while await own_each.text(secretive) != 2 * word.decode():
            await asyncio.sleep(0.02)
    for container in (talker, brief, secretive):
        await own_each.remove(container)
    assert own_each.remains() == []
    assert own_each.state_left() == []


async def test_an_orderly_stop_leaves_containers_alone(own: Yard) -> None:
    container = await own.create("sleep", "100")
    pid = await own.start(container)
    assert await own.stop_daemon() == 0
    assert Path(f"/proc/{pid}").exists()
    await own.start_daemon()
    assert (await own.get(container)).status.pid == pid


async def test_restart_policy_goes_on_after_a_restart_of_the_daemon(own: Yard) -> None:
    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    container = await own.create("sleep", "100", restart=always)
    pid = await own.start(container)
    await own.kill_daemon()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    await own.start_daemon()
    found = await own.until_state(container, pb.CONTAINER_STATE_RUNNING)
    assert found.status.pid != pid
    assert found.status.restart_count == 1


async def test_a_reboot(own: Yard) -> None:
    """What ran is gone with the machine; the restart policies bring back what is to come back."""
    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    unless = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_UNLESS_STOPPED)
    plain = await own.create("sleep", "100")
    keeper = await own.create("sleep", "100", restart=always)
    stopped_keeper = await own.create("sleep", "100", restart=always)
    stopped = await own.create("sleep", "100", restart=unless)
    key = spec_pb2.InlineFile(path="/run/secrets/key", data=b"word")
    secretive = await own.create("sleep", "100", files=[key])
    for container in (plain, keeper, stopped_keeper, stopped, secretive):
        await own.start(container)
    for container in (stopped_keeper, stopped):
        await client.call(own.stub.StopContainer(pb.StopContainerRequest(container=container, grace_ms=0)))
    await own.kill_daemon()
    # As after a boot: no process, no mount, no control group, an empty run directory, another boot id.
    database = own.root / "containerd/state.db"

    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute("SELECT id, status FROM containers").fetchall()
        for key, status in rows:
            changed = status.replace(_boot_id(), "another-boot")
            connection.execute("UPDATE containers SET status = ? WHERE id = ?", (changed, key))
    (own.root / "containerd/boot").write_text("another-boot")
    for group in groups.whole(own.cgroup_parent):
        for pid in groups.pids(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for conmon in own.conmons():
        with contextlib.suppress(ProcessLookupError):
            os.kill(conmon, signal.SIGKILL)
    for place in ("exits", "files"):
        for file in (own.run / "containerd" / place).iterdir():
            file.unlink()
    await own.start_daemon()
    lost = await own.until_state(plain, pb.CONTAINER_STATE_EXITED)
    assert lost.status.exit_code == 255
    assert "machine went down" in lost.status.error
    await own.until_state(keeper, pb.CONTAINER_STATE_RUNNING)
    await own.until_state(stopped_keeper, pb.CONTAINER_STATE_RUNNING)
    assert (await own.get(stopped)).status.state == pb.CONTAINER_STATE_EXITED
    with pytest.raises(errors.FailedPrecondition, match="/run/secrets/key is gone") as refused:
        await own.start(secretive)
    assert (refused.value.reason, refused.value.metadata["cause"]) == ("START_FAILED", "FILES_GONE")
    with pytest.raises(errors.FailedPrecondition) as refused:
        request = pb.HoldContainerRequest(container=secretive, holder="mover")
        await client.call(own.stub.HoldContainer(request))
    assert refused.value.reason == "FILES_GONE"
    assert not (await own.get(secretive)).status.held_by
    await own.remove(secretive)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_what_belongs_to_no_container_is_taken_down(own: Yard) -> None:
    container = await own.create("sleep", "100")
    await own.start(container)
    await own.kill_daemon()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (own.root / "containerd" / name).unlink(missing_ok=True)
    await own.start_daemon()
    async with asyncio.timeout(20):
        while own.remains():
            await asyncio.sleep(0.05)
    assert own.state_left() != [], "a writable layer is somebody's data and is kept"


async def test_what_the_killed_have_left_is_cleared(own: Yard) -> None:
    """A daemon killed while it probed; a conmon and a runtime killed while they made a container."""
    terminal = await own.create("sleep", "100", tty=True)
    await own.start(terminal)
    (conmon,) = own.conmons()
    scratch = own.run / "containerd/t"
    assert f"TMPDIR={scratch}".encode() in Path(f"/proc/{conmon}/environ").read_bytes().split(b"\0")
    await own.stop_daemon()
    group = groups.group(own.cgroup_parent, "probe-999999999")
    group.mkdir()
    (own.run / "containerd/probe-x").mkdir()
    (scratch / "crun.killed").touch()
    subprocess.run(["mount", "--bind", "/bin/true", str(scratch / "crun.killed")], check=True)
    with socket.socket(socket.AF_UNIX) as of_the_killed:
        of_the_killed.bind(str(scratch / "conmon-term.killed"))
    with socket.socket(socket.AF_UNIX) as of_one_at_work:
        of_one_at_work.bind(str(scratch / "conmon-term.lives"))
        await own.start_daemon()
        assert [path.name for path in scratch.iterdir()] == ["conmon-term.lives"]
    (scratch / "conmon-term.lives").unlink()
    assert not group.exists()
    assert not (own.run / "containerd/probe-x").exists()
    assert (await own.get(terminal)).status.state == pb.CONTAINER_STATE_RUNNING


async def test_a_second_daemon_on_the_same_root_is_refused(own: Yard) -> None:
    first = own.process
    try:
        with pytest.raises(AssertionError, match="the daemon died"):
            own.run.joinpath("containerd.sock").rename(own.run / "hidden")
            await own.start_daemon()
        assert own.process is not None
        assert own.process.returncode == 1
        assert "lock" in own.log.read_text().lower() or "another" in own.log.read_text().lower()
    finally:
        own.process = first


async def test_neighbours_away(own: Yard) -> None:
    container = await own.create("sleep", "100", name="kept")
    await own.start(container)
    for name in ("imaged", "netd"):
        await own.servers.pop(name).drain(0)
    assert [entry.name for entry in await own.list()] == ["kept"]
    assert (await own.get("kept")).status.state == pb.CONTAINER_STATE_RUNNING
    await own.logs(container)
    with pytest.raises(errors.Unavailable, match=r"imaged does not answer at .*imaged\.sock"):
        await client.call(own.stub.CreateContainer(pb.CreateContainerRequest(spec=spec("true"))))
    await client.call(own.stub.StopContainer(pb.StopContainerRequest(container=container, grace_ms=0)))
    assert (await own.get("kept")).status.exit_code == 137
    with pytest.raises(errors.Unavailable, match="netd"):
        await own.start(container)

    own.servers["imaged"] = await serve_imaged(own.imaged, own.run)
    own.servers["netd"] = await serve_netd(own.netd, own.run)
    async with asyncio.timeout(40):  # what could not be taken down is tried again by itself
        while own.remains():
            await asyncio.sleep(0.05)
    await own.start(container)
    await own.remove(container)
    assert own.remains() == []


async def test_a_neighbour_that_restarts_is_waited_for(own: Yard) -> None:
    container = await own.create("true")
    await own.servers.pop("netd").drain(0)

    async def back() -> None:
        await asyncio.sleep(0.5)
        own.servers["netd"] = await serve_netd(own.netd, own.run)

    async with asyncio.TaskGroup() as group:
        group.create_task(back())
        await own.start(container)
