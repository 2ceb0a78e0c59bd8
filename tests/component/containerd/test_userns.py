"""Containers with ids of their own: root inside, nobody outside; made, joined, adopted and taken down."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from beeyard.image.v1 import snapshot_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.execution import execute
from tests.component.containerd.test_copies import archive, entry, export, put, take, unpack
from tests.component.containerd.yard import Yard, yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

FIRST = 3_000_000
AUTO = FIRST + 65_536
"""Where the first container with ids of its own has them: after those of `remap`."""
CAPS_OF_ALL = struct.pack("<5I", 0x0200_0001, 1 << 10, 0, 0, 0)
POOL = f"{FIRST}-{FIRST + 3 * 65_536 - 1}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mapped_yard(runtime: str, module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / runtime
    directory.mkdir()
    async with yard(directory, runtime=runtime, userns_range=POOL) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def mapped(mapped_yard: Yard) -> AsyncIterator[Yard]:
    """A yard with ids for `remap` and two containers; /dev/null stays as it was."""
    before = os.stat("/dev/null")
    yield mapped_yard
    await mapped_yard.clear()
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def own(userns: str = "auto", **fields: object) -> spec_pb2.Security:
    return spec_pb2.Security(userns=userns, **fields)


LOOK = """
id -u; id -g; id -G
while read -r line; do set -- $line; echo $1 $2 $3; done < /proc/self/uid_map
stat -c '%u:%g %a' /bin/busybox / /made /secret /dev/shm
touch /mine && chown alice:staff /mine && stat -c '%u:%g' /mine
cat /secret; echo; cat /proc/sys/net/ipv4/ping_group_range
echo to stderr > /dev/stderr; echo to stdout > /dev/stdout
mknod /dev/own c 1 3 2>/dev/null || echo no mknod
mount -t tmpfs none /tmp 2>/dev/null || echo no mount
chown 70000 /mine 2>/dev/null || echo no such id
kill -9 1 2>/dev/null; echo $(($(cat | wc -c)))
sleep 300
"""


async def test_root_inside_is_nobody_outside(mapped: Yard) -> None:
    secret = spec_pb2.InlineFile(path="/secret", data=b"hidden", uid=0, gid=50, mode=0o440)
    container = await mapped.create("sh", "-c", LOOK, security=own(), working_dir="/made", files=[secret])
    pid = await mapped.start(container)
    async with asyncio.timeout(20):
        text, told = "", "to stderr\n"  # two streams have no order
        while told not in text or not text.replace(told, "").endswith("\n0\n"):
            await asyncio.sleep(0.02)
            text = await mapped.text(container)
    lines = text.replace(told, "").split("\n")
    assert lines == [
        "0", "0", "0",
        f"0 {AUTO} 65536",
        "0:0 755", "0:0 755", "0:0 755", "0:50 440", "0:0 1777",
        "1000:50",
        "hidden", "0\t65535",
        "to stdout",
        "no mknod", "no mount", "no such id",
        "0", "",
    ]  # fmt: skip
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{AUTO}\t{AUTO}\t{AUTO}\t{AUTO}" in status
    upper = mapped.imaged.layer(container) / "upper"
    assert ((upper / "mine").stat().st_uid, (upper / "mine").stat().st_gid) == (AUTO + 1000, AUTO + 50)
    assert (mapped.imaged.lower / "bin/busybox").stat().st_uid == 0

    output, last = await execute(
        mapped, container, "sh", "-c", "id -u; id -un; cat; ls -ld /dev/null", user="alice"
    )
    assert (last.exit.exit_code, output.split(b"\n")[:2]) == (0, [b"1000", b"alice"])
    output, _ = await execute(mapped, container, "sh", "-c", "chmod 600 /dev/null; cat; echo done")
    assert b"done\n" in output
    assert os.stat("/dev/null").st_mode & 0o777 == 0o666

    other = await mapped.create("sleep", "300", security=own())
    other_pid = await mapped.start(other)
    assert _uid(other_pid) == AUTO + 65_536
    with pytest.raises(errors.Exhausted, match="no 65536 ids in a row are free"):
        await mapped.create("true", security=own())
    await client.call(
        mapped.stub.RestartContainer(pb.RestartContainerRequest(container=container, grace_ms=0))
    )
    assert _uid((await mapped.get(container)).status.pid) == AUTO
    assert (upper / "mine").stat().st_uid == AUTO + 1000
    await mapped.remove(other)
    again = await mapped.create("true", security=own("auto:size=2000"))
    await mapped.remove(again)
    await mapped.remove(container)
    assert mapped.remains() == []
    assert mapped.state_left() == []


async def test_volumes_hold_the_ids_of_the_container(mapped: Yard) -> None:
    fields = {
        "security": own(),
        "mounts": [spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_VOLUME, source="data", target="/usr/local/bin")],
    }
    os.setxattr(mapped.imaged.lower / "usr/local/bin/plain", "security.capability", CAPS_OF_ALL)
    script = "cd /usr/local/bin && stat -c '%u:%g' . plain; touch mine && chown alice mine; stat -c %u mine"
    first, _ = await mapped.run_to_end("sh", "-c", script, **fields)
    assert await mapped.text(first) == "0:0\n0:0\n1000\n"
    data = mapped.root / "containerd/volumes/data/_data"
    assert [(data / name).stat().st_uid for name in (".", "plain", "mine")] == [0, 0, 1000]
    assert os.getxattr(data / "plain", "security.capability") == CAPS_OF_ALL
    second, _ = await mapped.run_to_end("sh", "-c", "stat -c %u /usr/local/bin/mine", **fields)
    assert await mapped.text(second) == "1000\n"
    await mapped.remove(first)
    await mapped.remove(second)


async def test_ids_outlive_the_daemon(runtime: str, module_dir: Path) -> None:
    directory = module_dir / f"{runtime}-killed"
    directory.mkdir()
    async with yard(directory, runtime=runtime, userns_range=POOL) as own_yard:
        container = await own_yard.create("sleep", "300", security=own())
        pid = await own_yard.start(container)
        await own_yard.kill_daemon()
        await own_yard.start_daemon()
        assert (await own_yard.get(container)).status.pid == pid
        other = await own_yard.create("sleep", "300", security=own())
        assert _uid(await own_yard.start(other)) == AUTO + 65_536
        restart = pb.RestartContainerRequest(container=container, grace_ms=0)
        await client.call(own_yard.stub.RestartContainer(restart))
        assert _uid((await own_yard.get(container)).status.pid) == AUTO
        await own_yard.clear()


async def test_sharing_and_what_excludes_it(mapped: Yard) -> None:
    owner = await mapped.create("sleep", "300", security=own(ipc="shareable"), name="owner")
    owner_pid = await mapped.start(owner)
    script = "ps | grep -c 'sleep 300'; echo 1 > /dev/shm/x; cat /sys/class/net/lo/address; hostname"
    joiner = await mapped.create(
        "sh", "-c", script + "; sleep 200", name="joiner", network="container:owner",
        security=spec_pb2.Security(**dict.fromkeys(("pid", "ipc", "uts", "cgroupns"), "container:owner")),
    )  # fmt: skip
    joiner_pid = await mapped.start(joiner)
    for kind in ("user", "net", "pid", "ipc", "uts", "cgroup"):
        assert _namespace(joiner_pid, kind) == _namespace(owner_pid, kind)
    assert _namespace(joiner_pid, "mnt") != _namespace(owner_pid, "mnt")
    async with asyncio.timeout(20):
        while not Path(f"/proc/{owner_pid}", "root", "dev/shm/x").exists():
            await asyncio.sleep(0.02)

    shared = [await mapped.create("sleep", "300", security=own("remap")) for _ in range(2)]
    pids = [await mapped.start(container) for container in shared]
    assert [_uid(pid) for pid in pids] == [FIRST, FIRST]
    assert _namespace(pids[0], "user") != _namespace(pids[1], "user")

    for fields, why in (
        ({"security": own(privileged=True)}, "privileged mode is incompatible"),
        ({"security": own(), "network": "host"}, "cannot share the host's network"),
        ({"security": own(pid="host")}, "cannot share the host's PID"),
        ({"security": own(ipc="host")}, "cannot share the host's IPC"),
        ({"security": own(), "network": "container:owner"}, "ids of its own"),
        ({"security": own("auto:size=5")}, "the size is not between"),
        ({"security": own("keep-id")}, "invalid user namespace mode"),
    ):
        with pytest.raises(errors.Invalid, match=why):
            await mapped.create("true", **fields)
    outside = await mapped.create("true", user="5000", security=own("auto:size=2000"))
    with pytest.raises(errors.FailedPrecondition, match="user id 5000 does not exist in the user namespace"):
        await mapped.start(outside)


async def test_files_go_in_and_out_with_the_ids_of_the_container(mapped: Yard) -> None:
    """Whether it runs or not: on the disk its layer has ids of the node, and its volume those that it sees."""
    volume = spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_VOLUME, source="shelf", target="/new/shelf")
    container = await mapped.create("sleep", "300", security=own(), mounts=[volume])
    upper = mapped.imaged.layer(container) / "upper"
    data = mapped.root / "containerd/volumes/shelf/_data"
    for number, (top, place) in enumerate((("new", upper / "new"), ("new/shelf", data)) * 2):
        if number == 2:
            await mapped.start(container)
        name, shift = f"d{number}", AUTO if place != data else 0
        caps = {"SCHILY.xattr.security.capability": CAPS_OF_ALL.decode()}
        sent = archive(
            entry(f"{name}/", type=tarfile.DIRTYPE, mode=0o750, uid=0, gid=50),
            entry(f"{name}/file", b"text", uid=1000, gid=50, mode=0o4711, pax_headers=caps),
            entry(f"{name}/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, uid=7),
            entry(f"{name}/link", type=tarfile.SYMTYPE, linkname="file", uid=1000),
        )
        await put(mapped, container, f"/{top}", sent)
        assert _owners(place / name) == {
            ".": (shift, shift + 50), "file": (shift + 1000, shift + 50),
            "null": (shift + 7, shift), "link": (shift + 1000, shift),
        }  # fmt: skip
        of_root = struct.pack("<I", AUTO) if shift else b""
        assert os.getxattr(place / name / "file", "security.capability")[20:] == of_root
        found = unpack((await take(mapped, container, f"/{top}/{name}"))[1])
        assert {key: (info.uid, info.gid) for key, (info, _) in found.items()} == {
            name: (0, 50), f"{name}/file": (1000, 50), f"{name}/null": (7, 0), f"{name}/link": (1000, 0),
        }  # fmt: skip
        assert caps.items() <= found[f"{name}/file"][0].pax_headers.items()
        assert found[f"{name}/file"][0].mode == 0o4711
        await put(mapped, container, f"/{top}", archive(entry("mine", uid=70_000)), archive=False)
        assert (place / "mine").stat().st_uid == shift
        with pytest.raises(errors.Invalid, match="70000:0"):
            await put(mapped, container, f"/{top}", archive(entry("theirs", uid=70_000)))
        exported = unpack(await export(mapped, container))
        owners = {info.uid for key, (info, _) in exported.items() if not key.startswith("new/d")}
        assert owners <= {0, 1000}
        assert "new/shelf/d1" not in exported
    output, _ = await execute(mapped, container, "stat", "-c", "%u:%g", "/new", "/new/shelf", "/new/d0/file")
    assert output.split() == [b"0:0", b"0:0", b"1000:50"]
    assert await mapped.text(container) == ""

    await client.call(mapped.stub.CommitContainer(pb.CommitContainerRequest(container=container)))
    asked = mapped.imaged.commits[-1].owner_ids
    assert (asked.start, asked.size) == (AUTO, 65_536)
    held = await client.call(
        mapped.stub.HoldContainer(pb.HoldContainerRequest(container=container, holder="carrier"))
    )
    assert held.spec.security.userns == "auto"
    refused = await client.call(mapped.stub.CheckContainer(pb.CheckContainerRequest(spec=held.spec)))
    assert {problem.kind for problem in refused.problems} == {"name"}
    held.spec.security.userns = "auto:size=200000"
    refused = await client.call(mapped.stub.CheckContainer(pb.CheckContainerRequest(spec=held.spec)))
    assert {problem.kind for problem in refused.problems} == {"name", "userns"}
    release = pb.ReleaseContainerRequest(container=container, holder="carrier")
    await client.call(mapped.stub.ReleaseContainer(release))
    await mapped.remove(container)
    assert mapped.remains() == []


async def test_a_root_without_layers_holds_the_ids_of_the_container(
    mapped: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tree, as vfs has it, is shown with other ids as a whole: it takes no file from the node's root."""
    tree = mapped.imaged.directory / "tree"
    shutil.copytree(mapped.imaged.lower, tree, symlinks=True)
    whole = snapshot_pb2.Mount(type="bind", source=str(tree), options=["rbind", "rw"])
    monkeypatch.setattr(mapped.imaged, "_mount", lambda _: whole)
    volume = spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_VOLUME, source="box", target="/no/such")
    container = await mapped.create(
        "sleep", "300", security=own(), working_dir="/to/be/made", mounts=[volume]
    )
    await put(mapped, container, "/tmp", archive(entry("stopped", uid=1000, gid=50)))
    await mapped.start(container)
    await put(mapped, container, "/tmp", archive(entry("running", uid=1000, gid=50)))
    assert _owners(tree / "tmp") == {".": (0, 0), "stopped": (1000, 50), "running": (1000, 50)}
    assert [_owners(tree / name)["."] for name in ("to/be/made", "no/such")] == [(0, 0), (0, 0)]
    exported = unpack(await export(mapped, container))
    assert exported["tmp/running"][0].uid == 1000
    await mapped.remove(container)
    shutil.rmtree(tree)


def _owners(directory: Path) -> dict[str, tuple[int, int]]:
    found = {".": directory.lstat(), **{path.name: path.lstat() for path in directory.iterdir()}}
    return {name: (status.st_uid, status.st_gid) for name, status in found.items()}


def _uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _namespace(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")
