"""CopyIn, CopyOut and export: of running and stopped containers, against hostile trees and archives, and cut short."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

CANARY = b"the canary of the host\n"


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


async def put(yard: Yard, container: str, path: str, data: bytes, **fields: bool) -> None:
    spec = pb.CopyInSpec(container=container, path=path, archive=True, no_overwrite_dir_non_dir=True)
    for key, value in fields.items():
        setattr(spec, key, value)

    async def requests() -> AsyncIterator[pb.CopyInRequest]:
        yield pb.CopyInRequest(spec=spec)
        for start in range(0, len(data), 64 << 10):
            yield pb.CopyInRequest(chunk=data[start : start + (64 << 10)])

    await client.call(yard.stub.CopyIn(requests()))


async def take(yard: Yard, container: str, path: str, *, follow: bool = False) -> tuple[pb.PathStat, bytes]:
    request = pb.CopyOutRequest(container=container, path=path, follow_link=follow)
    stat, data = pb.PathStat(), bytearray()
    async for response in client.stream(yard.stub.CopyOut(request)):
        if response.WhichOneof("part") == "stat":
            stat = response.stat
        data += response.chunk
    return stat, bytes(data)


async def export(yard: Yard, container: str) -> bytes:
    request = pb.ExportContainerRequest(container=container)
    return b"".join([part.chunk async for part in client.stream(yard.stub.ExportContainer(request))])


def unpack(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            member.name: (
                member,
                file.read() if member.isreg() and (file := tar.extractfile(member)) else b"",
            )
            for member in tar
        }


def workers() -> set[int]:
    found = set()
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                directory.name.isdecimal()
                and b"containerd.files.worker" in (directory / "cmdline").read_bytes()
            ):
                found.add(int(directory.name))
    return found


async def until_no_workers() -> None:
    for _ in range(200):
        if not workers():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"file workers are left: {workers()}")


@pytest.fixture(params=["running", "paused", "stopped"])
def state(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def made(yard: Yard, state: str, *command: str, **fields: object) -> str:
    container = await yard.create(*(command or ("sleep", "1000")), **fields)
    if state != "stopped":
        await yard.start(container)
    if state == "paused":
        await client.call(yard.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    return container


async def test_a_tree_comes_out_as_it_went_in(one: Yard, state: str) -> None:
    container = await made(one, state)
    tree = archive(
        entry("t", type=tarfile.DIRTYPE, mode=0o750, uid=12, gid=34, mtime=1_000_000_000),
        entry("t/file", b"x" * 100_000, mode=0o4711, uid=1000, gid=1001, mtime=1_234_567_890),
        entry("t/twin", type=tarfile.LNKTYPE, linkname="t/file"),
        link("t/link", "file"),
        link("t/out", "/etc/passwd"),
        entry("t/fifo", type=tarfile.FIFOTYPE, mode=0o600),
        entry("t/deep/er/file", b"1"),
    )
    await put(one, container, "/tmp", tree)
    stat, data = await take(one, container, "/tmp/t")
    assert (stat.name, stat.mode & 0o7777) == ("t", 0o750)
    found = unpack(data)
    assert set(found) == {
        "t",
        "t/file",
        "t/twin",
        "t/link",
        "t/out",
        "t/fifo",
        "t/deep",
        "t/deep/er",
        "t/deep/er/file",
    }
    info, content = found["t/file"]
    assert (content, info.mode, info.uid, info.gid, int(info.mtime)) == (
        b"x" * 100_000,
        0o4711,
        1000,
        1001,
        1_234_567_890,
    )
    assert (found["t"][0].uid, found["t"][0].gid, int(found["t"][0].mtime)) == (12, 34, 1_000_000_000)
    assert found["t/twin"][0].islnk() and found["t/twin"][0].linkname == "t/file"
    assert found["t/out"][0].linkname == "/etc/passwd"
    assert found["t/fifo"][0].isfifo()
    assert set(unpack((await take(one, container, "/tmp/t/."))[1])) == {
        name.replace("t", ".", 1) if name == "t" else "." + name[1:] for name in found
    }
    request = pb.WatchEventsRequest(filters={"container": {"values": [container]}})
    request.since.FromSeconds(1)
    request.until.GetCurrentTime()
    told = [item.event.action async for item in client.stream(one.stub.WatchEvents(request))]
    assert [action for action in told if "-" in action][:2] == ["extract-to-dir", "archive-path"]


async def test_what_cannot_be_is_told(one: Yard) -> None:
    container = await made(one, "running")
    file = archive(entry("f", b"1"))
    await put(one, container, "/tmp", archive(entry("d", type=tarfile.DIRTYPE, mode=0o755), entry("f", b"0")))
    for path, data, reason in (
        ("/none", file, "PATH_NOT_FOUND"),
        ("/tmp/f", file, "PATH_NOT_A_DIRECTORY"),
        ("/proc", file, "PATH_NOT_A_FILE"),
        ("/sys/fs", file, "PATH_NOT_A_FILE"),
        ("/tmp", archive(entry("d", b"1")), "PATH_CONFLICT"),
        ("/tmp", archive(entry("f", type=tarfile.DIRTYPE)), "PATH_CONFLICT"),
        ("/dev", archive(entry("shm", b"1")), "PATH_CONFLICT"),
        ("/tmp", file[:700], "ARCHIVE_INVALID"),
        ("/tmp", b"no archive" * 100, "ARCHIVE_INVALID"),
        ("/tmp", archive(entry("../up", b"1")), "ARCHIVE_INVALID"),
        ("/tmp", archive(entry("a/" * 500 + "f", b"1")), "ARCHIVE_INVALID"),
        ("/tmp", archive(entry("n" * 300, b"1")), "ARCHIVE_INVALID"),
    ):
        with pytest.raises(errors.BeeyardError) as caught:
            await put(one, container, path, data)
        assert caught.value.reason == reason, (path, caught.value.message)
    for path, reason in (
        ("/none", "PATH_NOT_FOUND"),
        ("/proc/cpuinfo", "PATH_NOT_A_FILE"),
        ("/sys", "PATH_NOT_A_FILE"),
    ):
        with pytest.raises(errors.BeeyardError) as caught:
            await take(one, container, path)
        assert caught.value.reason == reason
    file_on_directory = spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source="/etc/passwd", target="/tmp")
    with pytest.raises(errors.FailedPrecondition, match="/etc/passwd at /tmp") as caught:
        await put(one, await one.create("true", mounts=[file_on_directory]), "/etc", file)
    assert caught.value.reason == "MOUNT_FAILED"
    await put(one, container, "/tmp", archive(entry("d", b"1")), no_overwrite_dir_non_dir=False)
    assert unpack((await take(one, container, "/tmp/d"))[1])["d"][1] == b"1"
    await put(one, container, "/tmp", b"")


async def test_archives_do_not_leave_the_root(one: Yard, state: str, tmp_path: Path) -> None:
    """CVE-2014-6407, CVE-2014-9356, CVE-2018-15664: links out, and then through them."""
    canary = tmp_path / "canary"
    canary.write_bytes(CANARY)
    container = await made(one, state)
    host = str(canary)
    hostile = [
        archive(link("l", str(tmp_path)), entry("l/canary", b"gone")),
        archive(link("r", "../../../../../../.." + str(tmp_path)), entry("r/canary", b"gone")),
        archive(entry("h", type=tarfile.LNKTYPE, linkname=host)),
        archive(entry("h", type=tarfile.LNKTYPE, linkname="../../../../../.." + host)),
        archive(entry("/" + host, b"inside")),
        archive(link("c", host), entry("c", b"replaced")),
        archive(link("p", "/proc/self/root"), entry("p/" + host, b"gone")),
    ]
    for data in hostile:
        with contextlib.suppress(errors.BeeyardError):
            await put(one, container, "/tmp", data)
        assert canary.read_bytes() == CANARY
        assert canary.stat().st_nlink == 1
    await put(one, container, "/tmp", archive(link("out", host), link("dir", str(tmp_path))))
    for path in ("/tmp/out", "/tmp/dir/canary", "/tmp/dir/."):
        with pytest.raises(errors.NotFound):
            await take(one, container, path, follow=True)


async def test_links_that_are_swapped_lead_nowhere(own: Yard, tmp_path: Path) -> None:
    """CVE-2018-15664, with a container that swaps while we copy."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(CANARY)
    away = str(tmp_path / "d")
    script = (
        f"mkdir -p /w/d; echo inside >/w/d/f; ln -s {away} /w/l;"
        "while :; do mv /w/d /w/x; mv /w/l /w/d; mv /w/d /w/l; mv /w/x /w/d; done"
    )
    container = await own.create("sh", "-c", script)
    await own.start(container)
    hit = 0
    for _ in range(200):
        with contextlib.suppress(errors.BeeyardError):
            _, data = await take(own, container, "/w/d/f")
            assert CANARY not in data
            hit += 1
        with contextlib.suppress(errors.BeeyardError):
            await put(own, container, "/w/d", archive(entry("f", b"inside"), entry("g", b"inside")))
            hit += 1
        with contextlib.suppress(errors.BeeyardError):
            assert CANARY not in (await take(own, container, "/w"))[1]
    assert hit
    assert (tmp_path / "d" / "f").read_bytes() == CANARY
    assert os.listdir(tmp_path / "d") == ["f"]


async def test_nothing_of_a_container_is_loaded(own: Yard) -> None:
    """CVE-2019-14271: libraries and name services of the container would run in the daemon's place."""
    container = await own.create("sh", "-c", "mkdir -p /lib /lib64 /usr/lib; sleep 1000")
    await own.start(container)
    bait = archive(
        *(
            entry(f"lib/{name}", b"\x7fELF" + b"x" * 100, mode=0o755)
            for name in ("libnss_files.so.2", "libc.so.6")
        )
    )
    await put(own, container, "/", bait)
    await take(own, container, "/lib")
    opened = set()
    for pid in workers():
        opened |= {
            line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line
        }
        assert os.readlink(f"/proc/{pid}/root") == "/"
    assert opened and not any(str(own.directory) in path or path.endswith("(deleted)") for path in opened)


async def test_volumes_and_read_only_roots(one: Yard, tmp_path: Path) -> None:
    mounts = [
        spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source=str(tmp_path), target="/rw"),
        spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source=str(tmp_path), target="/ro", read_only=True),
    ]
    container = await one.create(
        "sleep", "1000", mounts=mounts, security=spec_pb2.Security(read_only_root=True)
    )
    for state in ("stopped", "running"):
        if state == "running":
            await one.start(container)
        await put(one, container, "/rw", archive(entry(state, b"data")))
        assert (tmp_path / state).read_bytes() == b"data"
        assert unpack((await take(one, container, f"/ro/{state}"))[1])[state][1] == b"data"
        for path in ("/tmp", "/ro"):
            with pytest.raises(errors.FailedPrecondition, match="read-only"):
                await put(one, container, path, archive(entry("f", b"1")))
        names = unpack(await export(one, container))
        assert "bin/busybox" in names
        assert not [name for name in names if name.startswith(("rw/", "ro/", "proc/", "dev/"))]


async def test_a_client_that_goes_leaves_nothing(own: Yard) -> None:
    container = await made(own, "running")
    await put(own, container, "/tmp", archive(entry("big", bytes(8 << 20))))
    call = own.stub.CopyOut(pb.CopyOutRequest(container=container, path="/tmp/big"))
    async for _ in call:
        break
    call.cancel()

    async def endless() -> AsyncIterator[pb.CopyInRequest]:
        spec = pb.CopyInSpec(container=container, path="/tmp", archive=True)
        yield pb.CopyInRequest(spec=spec)
        yield pb.CopyInRequest(chunk=archive(entry("half", bytes(1 << 20)))[: 512 << 10])
        await asyncio.sleep(3600)

    sending = own.stub.CopyIn(endless())
    await asyncio.sleep(0.5)
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    await until_no_workers()
    await put(own, container, "/tmp", archive(entry("after", b"1")))


async def test_a_start_and_a_removal_end_a_copy_that_hangs(own: Yard) -> None:
    container = await own.create("sleep", "1000")
    await put(own, container, "/tmp", archive(entry("big", bytes(32 << 20))))
    call = own.stub.CopyOut(pb.CopyOutRequest(container=container, path="/tmp/big"))
    parts = aiter(call)
    await anext(parts)  # and read no further
    await own.start(container)
    with pytest.raises(errors.FailedPrecondition) as caught:
        async for _ in client.stream(call):
            pass
    assert caught.value.reason == "COPY_INTERRUPTED"
    call = own.stub.CopyOut(pb.CopyOutRequest(container=container, path="/tmp/big"))
    await anext(aiter(call))
    await own.remove(container)
    call.cancel()
    await until_no_workers()


async def test_a_full_disk_is_told(one: Yard) -> None:
    mounts = [spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target="/small", tmpfs_size_bytes=1 << 20)]
    container = await one.create("sleep", "1000", mounts=mounts)
    await one.start(container)
    with pytest.raises(errors.Exhausted) as caught:
        await put(one, container, "/small", archive(entry("big", bytes(4 << 20))))
    assert caught.value.reason == "DISK_FULL"
    await put(one, container, "/small", archive(entry("little", b"1")))
    assert set(unpack((await take(one, container, "/small"))[1])) == {"small", "small/little"}
    assert (await one.get(container)).status.state == pb.CONTAINER_STATE_RUNNING


@pytest.mark.parametrize("point", ["cp.opened", "cp.packing", "cp.unpacking", "cp.unpacked"])
async def test_a_daemon_that_dies_leaves_nothing(own: Yard, point: str) -> None:
    container = await own.create("sleep", "1000")
    await own.stop_daemon()
    await own.start_daemon(fault=point)
    with pytest.raises(
        errors.BeeyardError
    ):  # how gRPC tells of a peer that died depends on what it was sending
        if point == "cp.packing":
            await take(own, container, "/bin")
        else:
            await put(own, container, "/tmp", archive(entry("f", bytes(1 << 20))))
    await own.daemon_gone()
    await until_no_workers()
    assert str(own.directory) not in "".join(
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if container in line
    )
    await own.start_daemon()
    await own.start(container)
    await put(own, container, "/tmp", archive(entry("f", b"1")))
