"""Volumes and mounts, against real runtimes: what containers see of them, and what is left on the node."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import filter_pb2, spec_pb2, volume_pb2
from services.containerd.kernel import mountinfo
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.volume_calls import Calls
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
VOLUME, BIND, TMPFS, IMAGE = (
    spec_pb2.MOUNT_TYPE_VOLUME,
    spec_pb2.MOUNT_TYPE_BIND,
    spec_pb2.MOUNT_TYPE_TMPFS,
    spec_pb2.MOUNT_TYPE_IMAGE,
)
CANARY = "nobody may read or change this\n"


def mount(target: str, source: str = "", kind: Any = VOLUME, **fields: Any) -> spec_pb2.Mount:
    return spec_pb2.Mount(type=kind, source=source, target=target, **fields)


@pytest_asyncio.fixture(loop_scope="module")
async def volumes(one: Yard) -> AsyncIterator[Calls]:
    """Calls about volumes; all are removed after the test."""
    yield Calls(one)
    await one.clear()
    await Calls(one).clear()
    one.imaged.config.ClearField("volumes")


async def say(yard: Yard, script: str, *mounts: spec_pb2.Mount, **fields: Any) -> str:
    """Run a shell with mounts; return what it wrote. It must end well."""
    container, ended = await yard.run_to_end("sh", "-c", f"{{ {script}; }} 2>&1", mounts=mounts, **fields)
    text = await yard.text(container)
    assert ended.exit_code == 0, text
    return text


async def test_a_volume_outlives_its_containers(each: Yard) -> None:
    calls = Calls(each)
    await say(each, "echo kept >/data/file", mount("/data", "data"))
    assert await say(each, "cat /d/file", mount("/d", "data", read_only=True)) == "kept\n"
    container, ended = await each.run_to_end("touch", "/d/x", mounts=[mount("/d", "data", read_only=True)])
    assert ended.exit_code == 1
    with pytest.raises(errors.FailedPrecondition, match="in use") as refused:
        await calls.remove("data")
    assert refused.value.reason == "VOLUME_IN_USE" and container in refused.value.metadata["containers"]
    await each.clear()
    shown = await calls.get("data", size=True)
    assert (shown.driver, shown.anonymous, shown.container_count) == ("local", False, 0)
    assert shown.size_bytes >= 5 and Path(shown.mountpoint, "file").read_text() == "kept\n"
    await calls.remove("data")
    assert not Path(shown.mountpoint).exists() and await calls.names() == []


async def test_copy_up_keeps_what_the_image_has(each: Yard) -> None:
    calls, place = Calls(each), each.imaged.lower / "srv/www"
    place.mkdir(parents=True)
    place.chmod(0o2750)
    os.chown(place, 1000, 50)
    (place / "page").write_text("hello\n")
    os.chown(place / "page", 1000, 1000)
    (place / "page").chmod(0o4755)
    (place / "same").hardlink_to(place / "page")
    (place / "link").symlink_to("/etc/passwd")
    os.setxattr(place / "page", "user.note", b"kept")
    with (place / "holes").open("wb") as file:
        file.truncate(1 << 20)
    assert await say(each, "stat -c '%a %u %g' /srv/www /srv/www/page", mount("/srv/www", "www")) == (
        "2750 1000 50\n4755 1000 1000\n"
    )
    made = Path((await calls.get("www")).mountpoint)
    assert (made / "page").stat().st_ino == (made / "same").stat().st_ino
    assert os.readlink(made / "link") == "/etc/passwd"
    assert os.getxattr(made / "page", "user.note") == b"kept"
    assert (made / "holes").stat().st_blocks == 0
    await say(each, "rm -r /srv/www/*; echo own >/srv/www/own", mount("/srv/www", "www"))
    assert await say(each, "ls /srv/www", mount("/srv/www", "www")) == "own\n", "filled once only"
    assert await say(each, "ls /srv/www", mount("/srv/www", "bare", volume_no_copy=True)) == ""
    await each.clear()
    await calls.clear()


async def test_anonymous_volumes_go_with_rm_v_and_rm(volumes: Calls) -> None:
    yard = volumes.yard
    yard.imaged.config.volumes.extend(["/declared", "/declared/"])
    kept = await yard.create("true", mounts=[mount("/own"), mount("/named", "named")])
    shown = {point.destination: point for point in (await yard.get(kept)).mount_points}
    assert set(shown) == {"/own", "/named", "/declared"}
    assert all(len(shown[path].name) == 64 and shown[path].anonymous for path in ("/own", "/declared"))
    assert len(await volumes.names()) == 3
    await yard.remove(kept)
    assert len(await volumes.names()) == 3, "rm leaves them"
    assert sorted(await volumes.prune()) == sorted([shown["/own"].name, shown["/declared"].name])
    assert await volumes.names() == ["named"]
    gone = await yard.create("true", mounts=[mount("/own"), mount("/named", "named")])
    await client.call(yard.stub.RemoveContainer(pb.RemoveContainerRequest(container=gone, volumes=True)))
    assert await volumes.names() == ["named"], "rm -v"
    waiting = await yard.create("true", auto_remove=True, mounts=[mount("/own")])
    removed = await yard.armed_wait(waiting, pb.WAIT_CONDITION_REMOVED)
    await yard.start(waiting)
    await removed
    assert await volumes.names() == ["named"], "--rm"


async def test_volumes_from(volumes: Calls, tmp_path: Path) -> None:
    yard = volumes.yard
    first = await yard.create(
        "sh",
        "-c",
        "echo here >/a/file",
        name="first",
        mounts=[mount("/a"), mount("/host", str(tmp_path), BIND)],
    )
    await yard.start(first)
    await yard.until_state(first, pb.CONTAINER_STATE_EXITED)
    text = await say(yard, "cat /a/file; touch /a/new; touch /host/new", volumes_from=["first"])
    assert text == "here\n" and (tmp_path / "new").exists()
    container, ended = await yard.run_to_end("touch", "/a/other", volumes_from=["first:ro"])
    assert ended.exit_code == 1
    await client.call(yard.stub.RemoveContainer(pb.RemoveContainerRequest(container=first, volumes=True)))
    assert len(await volumes.names()) == 1, "another container has it"
    for bad in ("first", "nobody", ":ro", f"{container}:rx"):
        with pytest.raises(errors.BeeyardError):
            await yard.create("true", volumes_from=[bad])


async def test_the_store_answers_as_docker_does(volumes: Calls) -> None:
    made = await volumes.create("data", labels={"tier": "db"})
    assert made == await volumes.create("data", labels={"tier": "db"})
    anonymous = await volumes.create("")
    assert len(anonymous.name) == 64 and anonymous.anonymous
    await volumes.create("web")
    await volumes.yard.create("true", mounts=[mount("/w", "web")])
    assert await volumes.names(name=["dat"]) == ["data"]
    assert await volumes.names(label=["tier=db"]) == ["data"]
    assert await volumes.names(dangling=["false"]) == ["web"]
    assert await volumes.names(driver=["other"]) == []
    assert sorted(await volumes.prune(all=True)) == sorted(["data", anonymous.name])
    for name in ("../x", "a/b", "x", ".hidden", "a" * 256, "-v"):
        with pytest.raises(errors.Invalid):
            await volumes.create(name)
    with pytest.raises(errors.Invalid, match="plugin 'ceph' not found"):
        await volumes.create("d2", driver="ceph")
    with pytest.raises(errors.AlreadyExists, match="exists already"):
        await volumes.create("web", options={"type": "tmpfs", "device": "tmpfs"})
    with pytest.raises(errors.NotFound, match="no such volume"):
        await volumes.get("nothing")
    with pytest.raises(errors.NotFound):
        await volumes.remove("nothing")
    with pytest.raises(errors.Invalid, match="invalid filter"):
        await volumes.names(color=["red"])


async def test_driver_options_are_mounted_while_containers_run(own_each: Yard, tmp_path: Path) -> None:
    each, calls = own_each, Calls(own_each)
    await calls.create("memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=2m,nosuid"})
    await calls.create("bound", options={"type": "none", "device": str(tmp_path), "o": "bind"})
    mounts = [mount("/m", "memory"), mount("/b", "bound")]
    script = "echo x >/m/x; grep -o ' /m tmpfs.*size=2048k' /proc/mounts | wc -l; echo y >/b/y; sleep 1000"
    first = await each.create("sh", "-c", script, mounts=mounts)
    await each.start(first)
    assert await say(each, "cat /m/x", *mounts) == "x\n", "shared while it runs"
    await each.kill_daemon()
    await each.start_daemon()
    assert (await calls.get("memory")).mountpoint in {entry.target for entry in mountinfo.read()}
    assert await say(each, "cat /m/x", *mounts) == "x\n", "found again"
    await client.call(each.stub.KillContainer(pb.KillContainerRequest(container=first)))
    await each.until_state(first, pb.CONTAINER_STATE_EXITED)
    await each.clear()
    assert (tmp_path / "y").read_text() == "y\n"
    assert await say(each, "ls /m", *mounts) == "", "the memory went with its last user"
    await each.clear()
    await calls.create("far", options={"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1"})
    container = await each.create("true", mounts=[mount("/far", "far")])
    with pytest.raises(errors.FailedPrecondition, match="error while mounting volume 'far'"):
        await each.start(container)
    await each.clear()
    await calls.clear()
    assert (tmp_path / "y").exists(), "what a volume was mounted from stays"


async def test_subpaths_stay_in_the_volume(each: Yard, tmp_path: Path) -> None:
    calls = Calls(each)
    (tmp_path / "canary").write_text(CANARY)
    place = Path((await calls.create("tree")).mountpoint)
    (place / "deep/er").mkdir(parents=True)
    (place / "deep/er/file").write_text("inside\n")
    (place / "link").symlink_to("deep/er")
    (place / "out").symlink_to(tmp_path)
    (place / "up").symlink_to("../../../../../../../../../..")
    assert await say(each, "cat /t/file", mount("/t", "tree", volume_subpath="deep/er")) == "inside\n"
    assert await say(each, "cat /t/file", mount("/t", "tree", volume_subpath="link")) == "inside\n"
    for read_only in (False, True):
        part = mount("/f", "tree", volume_subpath="deep/er/file", read_only=read_only)
        assert await say(each, "cat /f", part) == "inside\n"
    for subpath in ("out", "out/canary", "missing"):
        container = await each.create("true", mounts=[mount("/t", "tree", volume_subpath=subpath)])
        with pytest.raises(errors.FailedPrecondition, match="cannot access path"):
            await each.start(container)
    assert "canary" not in await say(each, "ls /t", mount("/t", "tree", volume_subpath="up")), (
        "`..` ends at the top"
    )
    for subpath in ("../x", "/etc"):
        with pytest.raises(errors.Invalid, match="relative path"):
            await each.create("true", mounts=[mount("/t", "tree", volume_subpath=subpath)])
    await each.clear()
    await calls.clear()


@pytest.mark.parametrize("path", ["/../../..", "/", "/proc/x", ""])
async def test_an_image_cannot_declare_a_volume_everywhere(volumes: Calls, path: str) -> None:
    """CVE-2022-23648 and its kin."""
    volumes.yard.imaged.config.volumes.append(path)
    with pytest.raises(errors.Invalid, match="the image declares a volume"):
        await volumes.yard.create("true")
    assert await volumes.names() == []


async def test_links_of_the_image_lead_nowhere(each: Yard, tmp_path: Path) -> None:
    calls, lower = Calls(each), each.imaged.lower
    (tmp_path / "canary").write_text(CANARY)
    (lower / "leak").symlink_to(f"../../../../../../../..{tmp_path}")
    (lower / str(tmp_path)[1:]).mkdir(parents=True)  # where a link to the outside leads inside
    (lower / "climb").symlink_to("../../../../../../../../../../home")
    (lower / "home/link").symlink_to(tmp_path)
    (lower / "kernel").symlink_to("/proc")
    each.imaged.config.volumes.extend(["/leak", "/climb/../climb"])
    try:
        script = "cat /leak/canary /climb/link/canary 2>/dev/null; echo x >/leak/x; echo y >/climb/y"
        assert await say(each, script) == ""
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["canary"]
        assert (tmp_path / "canary").read_text() == CANARY
        for name in await calls.names():
            assert "canary" not in os.listdir((await calls.get(name)).mountpoint)
        container = await each.create("true", mounts=[mount("/kernel/sys", "k8")])
        with pytest.raises(errors.FailedPrecondition, match="lies in /proc"):
            await each.start(container)
    finally:
        each.imaged.config.ClearField("volumes")
        await each.clear()
        await calls.clear()


async def test_binds(each: Yard, tmp_path: Path) -> None:
    missing = tmp_path / "made/deep"
    with pytest.raises(
        errors.Invalid, match='invalid mount config for type "bind": bind source path does not exist'
    ):
        await each.create("true", mounts=[mount("/b", str(missing), BIND)])
    await say(each, "echo x >/b/x", mount("/b", str(missing), BIND, bind_create_source=True))
    assert (missing / "x").read_text() == "x\n"
    (tmp_path / "file").write_text("one\n")
    assert (
        await say(each, "cat /etc/deep/conf", mount("/etc/deep/conf", str(tmp_path / "file"), BIND))
        == "one\n"
    )
    assert (
        await say(each, "cat /sub/x", mount("/sub", str(missing), BIND, bind_recursive="disabled")) == "x\n"
    )
    with pytest.raises(errors.Invalid, match="Duplicate mount point: /b"):
        await each.create("true", mounts=[mount("/b", "v1"), mount("/b/", "v2")])
    container = await each.create("true", mounts=[mount("/b", str(missing), BIND, propagation="rshared")])
    with pytest.raises(errors.BeeyardError, match=r"is not a shared mount|do not reach this host"):
        await each.start(container)
    await each.clear()
    await Calls(each).clear()


async def test_images_are_mounted_read_only(each: Yard) -> None:
    text = await say(
        each,
        "cat /tools/etc/group | head -1; ls /bins | grep -c busybox; touch /tools/x || echo refused",
        mount("/tools", "busybox", IMAGE),
        mount("/bins", "busybox", IMAGE, image_subpath="bin"),
    )
    assert text.splitlines()[:2] == ["root:x:0:", "1"] and text.endswith("refused\n")
    with pytest.raises(errors.NotFound):
        await each.create("true", mounts=[mount("/i", "nothing", IMAGE)])


async def test_events_tell_of_volumes(volumes: Calls) -> None:
    yard = volumes.yard
    await volumes.create("told", labels={"tier": "db"})
    await say(yard, "true", mount("/t", "told"))
    await yard.clear()
    await volumes.remove("told")
    request = pb.WatchEventsRequest(filters={"type": filter_pb2.StringList(values=["volume"])})
    request.since.FromSeconds(1)
    request.until.GetCurrentTime()
    items = [item.event async for item in client.stream(yard.stub.WatchEvents(request))]
    mine = [item for item in items if item.id == "told"]
    assert [item.action for item in mine] == ["create", "mount", "unmount", "destroy"]
    assert mine[0].attributes["tier"] == "db" and mine[1].attributes["destination"] == "/t"


async def test_out_in_and_cloned(volumes: Calls, tmp_path: Path) -> None:
    place = Path((await volumes.create("src", labels={"tier": "db"})).mountpoint)
    (place / "dir").mkdir(mode=0o750)
    (place / "dir/file").write_text("content\n")
    os.chown(place / "dir/file", 1000, 50)
    (place / "dir/same").hardlink_to(place / "dir/file")
    archive = await volumes.export("src")
    await volumes.receive("dst", archive)
    clone = await client.call(
        volumes.stub.CloneVolume(volume_pb2.CloneVolumeRequest(source="src", target="twin"))
    )
    assert dict(clone.volume.labels) == {"tier": "db"}
    for name in ("dst", "twin"):
        made = Path((await volumes.get(name)).mountpoint)
        found = (made / "dir/file").stat()
        assert (found.st_uid, found.st_gid, found.st_nlink) == (1000, 50, 2)
        assert (made / "dir/same").read_text() == "content\n"
    with pytest.raises(errors.FailedPrecondition, match="not empty"):
        await volumes.receive("dst", archive)
    with pytest.raises(errors.BeeyardError):
        await volumes.receive("half", archive[: len(archive) // 3])
    with pytest.raises(errors.BeeyardError):
        await volumes.receive("junk", b"this is no archive" * 1000)
    with pytest.raises(errors.AlreadyExists):
        await client.call(volumes.stub.CloneVolume(volume_pb2.CloneVolumeRequest(source="src", target="dst")))
    assert await volumes.names() == ["dst", "src", "twin"], "no half volume"
    assert [name for name in os.listdir(volumes.directory) if name.startswith(".")] == []
