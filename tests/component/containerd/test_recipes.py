"""Known holes of container engines, tried here. What counts is what happened to a canary, not what a message says.

The others of the family stand where their subject is: copying in tests of files, volumes of an image in those of
volumes, capabilities, devices and release_agent in `test_run`, the runtime's binary in `test_hostile`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.test_exec import sleeper
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

DESCRIPTORS = range(3, 24)
SECRET = "what the host keeps to itself"


async def test_a_working_directory_that_is_a_descriptor(each: Yard) -> None:
    """CVE-2024-21626: a descriptor that the runtime has open on the host's file system, as working directory."""
    canary = each.directory / "canary"
    canary.write_text(SECRET)
    look = f"for up in . .. ../.. ../../.. ../../../.. ../../../../../..; do cat $up{canary}; done; pwd"
    container = await sleeper(each)
    for number in DESCRIPTORS:
        for place in (f"/proc/self/fd/{number}", f"/proc/thread-self/fd/{number}"):
            with contextlib.suppress(errors.BeeyardError):
                output, _ = await execute(each, container, "sh", "-c", look, working_dir=place)
                assert SECRET.encode() not in output, place
    for number in (3, 5, 7, 8, 9):
        place = f"/proc/self/fd/{number}"
        with contextlib.suppress(errors.BeeyardError):
            ended, _ = await each.run_to_end("sh", "-c", look, working_dir=place)
            assert SECRET not in await each.text(ended), place


@pytest.mark.parametrize("device", ["null", "console", "ptmx", "pts", "shm"])
async def test_an_image_whose_devices_are_links(own_each: Yard, device: str) -> None:
    """CVE-2025-31133 and CVE-2025-52565: masks and terminals are bound from paths that the image has made links."""
    canary = own_each.directory / "canary"
    canary.write_text(SECRET)
    place = own_each.imaged.lower / "dev" / device
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(canary)
    container = await own_each.create("sh", "-c", "cat /proc/kcore | wc -c; cat /dev/console", tty=True)
    with contextlib.suppress(errors.BeeyardError):
        await own_each.start(container)
        await own_each.until_state(container, pb.CONTAINER_STATE_RUNNING, pb.CONTAINER_STATE_EXITED)
        assert SECRET not in await own_each.text(container)
    assert canary.read_text() == SECRET
    await own_each.remove(container)
    assert own_each.remains() == []


async def test_nothing_of_ours_listens_where_a_container_reaches_it(each: Yard) -> None:
    """CVE-2020-15257: a supervisor's abstract socket is reached from a container in the host's network."""
    container = await sleeper(each, network="host")
    supervisors = [*each.conmons(), each.process.pid if each.process else 0]
    sockets = {
        os.readlink(entry).removeprefix("socket:[").removesuffix("]")
        for pid in supervisors
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(entry).startswith("socket:[")
    }
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    abstract = [
        line[7] for line in lines if len(line) == 8 and line[7].startswith("@") and line[6] in sockets
    ]
    assert abstract == []
    await each.remove(container)


async def test_the_primary_group_is_among_the_groups(each: Yard) -> None:
    """CVE-2022-36109: without it, a file that is closed to the group is open to its members."""
    script = "id -G; touch /tmp/closed; chown 0:1000 /tmp/closed; chmod 604 /tmp/closed"
    root = await sleeper(each)
    await execute(each, root, "sh", "-c", f"{script}; echo {SECRET} > /tmp/closed")
    output, _ = await execute(each, root, "sh", "-c", "id -G; cat /tmp/closed", user="alice")
    assert b"1000" in output.splitlines()[0].split()
    assert SECRET.encode() not in output
    member, _ = await each.run_to_end("sh", "-c", "id -G", user="2000:3000", groups=["1000"])
    assert set((await each.text(member)).split()) == {"3000", "1000"}


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "//abs", ".", "..", "a b", "a\nb", "ä", "-x", "x" * 300, "a\0b"]
)
async def test_names_that_are_paths(one: Yard, name: str) -> None:
    """A name is part of nothing but records, and is refused all the same."""
    with pytest.raises(errors.BeeyardError) as refused:
        await one.create("true", name=name)
    assert isinstance(refused.value, errors.Invalid), refused.value
    assert await one.list() == []


@pytest.mark.parametrize("reference", ["", "..", "../../etc", "%", "*", "x" * 5000, "\n"])
async def test_references_that_are_none(one: Yard, reference: str) -> None:
    """Every call that names a container says that there is none."""
    for call, request in (
        (one.stub.GetContainer, pb.GetContainerRequest(container=reference)),
        (one.stub.StartContainer, pb.StartContainerRequest(container=reference)),
        (one.stub.KillContainer, pb.KillContainerRequest(container=reference)),
        (one.stub.RemoveContainer, pb.RemoveContainerRequest(container=reference, force=True)),
        (one.stub.CommitContainer, pb.CommitContainerRequest(container=reference)),
    ):
        with pytest.raises((errors.NotFound, errors.Invalid)):
            await client.call(call(request))


async def test_bodies_that_are_too_large(one: Yard) -> None:
    """Each part has a bound that is named; the daemon answers the next call."""
    hostile = (
        {"env": [f"A{number}=b" for number in range(20_000)]},
        {"labels": {"a": "x" * (2 << 20)}},
        {"mounts": [_tmpfs(f"/t{number}") for number in range(2_000)]},
        {"files": [spec_pb2.InlineFile(path="/f", data=bytes(2 << 20))]},
        {"env": ["A=\0"]},
        {"working_dir": "relative"},
        {"mounts": [_tmpfs("/a"), _tmpfs("/a/")]},
        {"mounts": [_tmpfs("relative")]},
        {"stop_signal": "SIGNONE"},
    )
    for fields in hostile:
        with pytest.raises(errors.BeeyardError) as refused:
            await one.create("true", **fields)  # type: ignore[arg-type]
        assert isinstance(refused.value, errors.Invalid), (list(fields), refused.value)
        assert len(refused.value.message) < 500
    assert await one.list() == []
    assert one.state_left() == []


def _tmpfs(target: str) -> spec_pb2.Mount:
    return spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target=target)
