"""What every snapshot driver must do, through the port and through real mounts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from services.imaged.layers.changes import ChangeKind
from services.imaged.layers.limits import Limits
from services.imaged.layers.workers import WorkerPool
from services.imaged.model.digest import Digest
from services.imaged.snapshots.local import LocalSnapshots
from services.imaged.snapshots.overlay import OverlayDriver
from services.imaged.snapshots.ports import Driver, Kind, LayerSpec, Mount, Snapshots
from services.imaged.snapshots.vfs import VfsDriver
from services.imaged.store.schema import MIGRATIONS
from services.kit import errors, system
from services.kit.sqlite import Database
from services.kit.tar.ids import IDENTITY, IdMap, of_range
from services.kit.tasks import Supervisor

pytestmark = pytest.mark.root

DRIVERS: dict[str, Callable[[Path], Driver]] = {"overlay": OverlayDriver, "vfs": VfsDriver}
NO_ID = 0xFFFF_FFFF
KEY_A, KEY_B, KEY_C = ("sha256:" + letter * 64 for letter in "abc")


class Rig:
    """A snapshotter, and the means to look at what it makes."""

    def __init__(self, snapshots: Snapshots, root: Path, mounted: contextlib.ExitStack) -> None:
        self.snapshots = snapshots
        self._root = root
        self._mounted = mounted

    async def unpack(self, key: str, parent: str, data: bytes, diff_id: Digest | None = None) -> None:
        blob = os.memfd_create("layer")
        try:
            os.write(blob, data)
            os.lseek(blob, 0, os.SEEK_SET)
            await self.snapshots.unpack(
                LayerSpec(key=key, parent=parent, diff_id=diff_id, limits=Limits()), blob
            )
        finally:
            os.close(blob)

    def mount(self, mounts: Sequence[Mount]) -> Path:
        target = self._root / f"mnt{len(list(self._root.iterdir()))}"
        target.mkdir()
        for mount in mounts:
            options = list(mount.options)
            if mount.type == "overlay":
                options.append("lowerdir=" + ":".join(mount.lower_dirs))
                if mount.upper_dir:
                    options += [f"upperdir={mount.upper_dir}", f"workdir={mount.work_dir}"]
            source = mount.source or "overlay"
            kind = [] if mount.type == "bind" else ["-t", mount.type]
            subprocess.run(["mount", *kind, "-o", ",".join(options), source, str(target)], check=True)
            self._mounted.callback(subprocess.run, ["umount", str(target)], check=False, capture_output=True)
        return target

    def umount(self, target: Path) -> None:
        subprocess.run(["umount", str(target)], check=True)


@pytest.fixture(params=DRIVERS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    clock = system.SystemClock()
    mounts = tmp_path / "mounts"
    mounts.mkdir()
    with contextlib.ExitStack() as mounted:
        async with (
            Supervisor() as supervisor,
            await Database.open(tmp_path / "db", MIGRATIONS) as database,
            WorkerPool() as workers,
        ):
            driver = DRIVERS[request.param](tmp_path / "snapshots")
            snapshots = LocalSnapshots(driver, database, workers, supervisor, clock, system.new_hex_id)
            await snapshots.recover()
            yield Rig(snapshots, mounts, mounted)
            await supervisor.stop()


def tar(*members: tuple[str, object]) -> bytes:
    """Return an archive. A name with a slash at its end is a directory; a value `-> target` makes a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = 1_000_000_000
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, int(str(value), 8) if value else 0o755
                archive.addfile(info)
            elif isinstance(value, str) and value.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, value[3:]
                archive.addfile(info)
            else:
                data = str(value).encode()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


BASE = tar(
    ("./", "755"),
    ("etc/", ""),
    ("etc/a", "a"),
    ("etc/b", "b"),
    ("tmp/", "1777"),
    ("lib", "-> usr/lib"),
    ("usr/lib/", ""),
)
SECOND = tar(("etc/.wh.a", ""), ("etc/c", "c"), ("usr/lib/x", "x"))


def tree(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            text = f"-> {path.readlink()}"
        elif path.is_dir():
            text = f"{stat.S_IMODE(status.st_mode):o}/"
        else:
            text = path.read_text()
        found[str(path.relative_to(root))] = text
    return found


STACKED = {
    "etc": "755/",
    "etc/b": "b",
    "etc/c": "c",
    "lib": "-> usr/lib",
    "tmp": "1777/",
    "usr": "755/",
    "usr/lib": "755/",
    "usr/lib/x": "x",
}


async def test_layers_stack_and_the_top_is_writable(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    await rig.unpack(KEY_B, KEY_A, SECOND)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_B))
    assert tree(root) == STACKED
    (root / "etc/b").write_text("changed")
    (root / "new").write_text("new")
    rig.umount(root)
    again = rig.mount(await rig.snapshots.mounts("container"))
    assert tree(again) == STACKED | {"etc/b": "changed", "new": "new"}
    other = rig.mount(await rig.snapshots.prepare("other", KEY_B))
    assert tree(other) == STACKED, "what one container writes, another does not see"


async def test_views_are_read_only_and_need_no_room(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    await rig.unpack(KEY_B, KEY_A, SECOND)
    for mounts in (
        await rig.snapshots.prepare("view", KEY_B, read_only=True),
        await rig.snapshots.mounts(KEY_B),
        await rig.snapshots.mounts(KEY_A),
    ):
        root = rig.mount(mounts)
        with pytest.raises(OSError, match="Read-only"):
            (root / "x").touch()
    assert tree(rig.mount(await rig.snapshots.mounts(KEY_B))) == STACKED
    assert (await rig.snapshots.usage("view")).size_bytes == 0


async def test_the_root_directory_looks_like_that_of_the_image(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", tar(("./", "2750"), ("x", "x")))
    await rig.unpack(KEY_B, KEY_A, tar(("y", "y")))
    root = rig.mount(await rig.snapshots.prepare("container", KEY_B))
    assert stat.S_IMODE(root.stat().st_mode) == 0o2750


async def test_a_snapshot_without_a_parent_is_empty_and_writable(rig: Rig) -> None:
    root = rig.mount(await rig.snapshots.prepare("scratch", ""))
    assert tree(root) == {}
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    (root / "x").touch()


async def test_preparing_again_is_harmless_and_other_parents_are_refused(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    first = await rig.snapshots.prepare("container", KEY_A, labels={"a": "b"})
    assert await rig.snapshots.prepare("container", KEY_A) == first
    for parent, read_only in (("", False), (KEY_A, True)):
        with pytest.raises(errors.BeeyardError) as caught:
            await rig.snapshots.prepare("container", parent, read_only=read_only)
        assert caught.value.reason in {"SNAPSHOT_EXISTS", "PARENT_MISSING"}
    snapshot = await rig.snapshots.get("container")
    assert (snapshot.kind, snapshot.parent, snapshot.labels) == (Kind.ACTIVE, KEY_A, {"a": "b"})


async def test_parents_must_exist_and_be_committed(rig: Rig) -> None:
    with pytest.raises(errors.NotFound) as missing:
        await rig.snapshots.prepare("container", KEY_A)
    assert missing.value.reason == "SNAPSHOT_NOT_FOUND"
    await rig.snapshots.prepare("scratch", "")
    with pytest.raises(errors.FailedPrecondition):
        await rig.snapshots.prepare("container", "scratch")


async def test_what_others_stand_on_stays(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    await rig.snapshots.prepare("container", KEY_A)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await rig.snapshots.remove(KEY_A)
    assert caught.value.reason == "SNAPSHOT_HAS_CHILDREN"
    assert await rig.snapshots.remove("container")
    assert await rig.snapshots.remove(KEY_A)
    assert not await rig.snapshots.remove(KEY_A), "to remove what is not there is no error"
    with pytest.raises(errors.NotFound):
        await rig.snapshots.mounts("container")


async def test_removed_trees_vanish_from_the_disk(rig: Rig, tmp_path: Path) -> None:
    await rig.unpack(
        KEY_A, "", tar(*((f"d{number}/{name}", "x") for number in range(40) for name in "abcdefghij"))
    )
    await rig.snapshots.prepare("container", KEY_A)
    root = rig.mount(await rig.snapshots.mounts("container"))
    # Deeper than a walk by recursion goes, and longer than any path may be.
    dig = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", dig], cwd=root, check=True)
    rig.umount(root)
    await rig.snapshots.remove("container")
    await rig.snapshots.remove(KEY_A)
    assert isinstance(rig.snapshots, LocalSnapshots)
    await rig.snapshots.purged()
    left = [path for path in (tmp_path / "snapshots").rglob("*") if path.name != "trash"]
    assert left == []


async def test_a_committed_snapshot_is_a_parent(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("step", KEY_A))
    (root / "etc/a").unlink()
    (root / "made").write_text("made")
    rig.umount(root)
    await rig.snapshots.commit("step", "cache-1")
    await rig.snapshots.commit("step", "cache-1")
    with pytest.raises(errors.NotFound):
        await rig.snapshots.get("step")
    above = rig.mount(await rig.snapshots.prepare("container", "cache-1"))
    assert "etc/a" not in tree(above)
    assert tree(above)["made"] == "made"
    with pytest.raises(errors.FailedPrecondition):
        await rig.snapshots.commit("cache-1", "cache-2")


CHANGES = {
    ("C", "/etc"),
    ("D", "/etc/a"),
    ("C", "/etc/b"),
    ("A", "/new"),
    ("A", "/new/file"),
    ("C", "/usr"),
    ("C", "/usr/lib"),
    ("A", "/usr/lib/y"),
    ("D", "/lib"),
}


def change(root: Path) -> None:
    (root / "etc/a").unlink()
    (root / "etc/b").write_text("changed!")
    (root / "new").mkdir()
    (root / "new/file").write_text("new")
    (root / "usr/lib/y").symlink_to("nowhere")
    (root / "lib").unlink()


async def listed(rig: Rig, key: str, *mount_points: str, ids: IdMap = IDENTITY) -> set[tuple[str, str]]:
    batches = rig.snapshots.changes(key, mount_points, ids)
    return {(entry.kind.value, entry.path) async for batch in batches for entry in batch}


async def test_changes_are_listed(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    assert await listed(rig, "container") == set()
    change(root)
    assert await listed(rig, "container") == CHANGES
    assert ChangeKind("A") is ChangeKind.ADDED


async def exported(rig: Rig, key: str, *mount_points: str, ids: IdMap = IDENTITY) -> bytes:
    output = os.memfd_create("export")
    try:
        result = await rig.snapshots.export(key, output, mount_points, ids)
        data = os.pread(output, 1 << 30, 0)
    finally:
        os.close(output)
    assert (result.tar_bytes, result.sha256_hex) == (len(data), hashlib.sha256(data).hexdigest())
    return data


def names_in(layer: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return {f"/{name}" for name in archive.getnames()}


MOUNT_POINTS = ("/proc", "/etc/hosts", "/lib/deep/er/point", "/srv/", "/data", "/work/../made")


def make_mount_points(root: Path) -> None:
    (root / "proc").mkdir()
    (root / "etc/hosts").touch()
    (root / "usr/lib/deep/er/point").mkdir(parents=True)
    (root / "made").touch()
    (root / "srv").mkdir()


async def test_what_is_there_only_to_mount_on_is_no_change(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    make_mount_points(root)
    assert ("A", "/usr/lib/deep/er/point") in await listed(rig, "container")
    assert await listed(rig, "container", *MOUNT_POINTS) == set()
    assert names_in(await exported(rig, "container", *MOUNT_POINTS)) == set()


async def test_what_a_container_made_itself_stays_beside_mount_points(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    make_mount_points(root)
    (root / "srv/kept").touch()
    (root / "usr/lib/deep/own").write_text("own")
    (root / "made").write_text("content")
    (root / "etc").chmod(0o700)
    (root / "empty").mkdir()
    (root / "data").symlink_to("empty")
    kept = {
        *(("C", "/etc"), ("C", "/usr"), ("C", "/usr/lib"), ("A", "/usr/lib/deep")),
        *(("A", "/usr/lib/deep/own"), ("A", "/made"), ("A", "/srv"), ("A", "/srv/kept")),
        *(("A", "/empty"), ("A", "/data")),
    }
    assert await listed(rig, "container", *MOUNT_POINTS) == kept
    assert names_in(await exported(rig, "container", *MOUNT_POINTS)) == {path for _, path in kept}


async def test_an_exported_diff_makes_the_same_tree_again(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    change(root)
    os.link(root / "new/file", root / "hard")
    os.chmod(root / "tmp", 0o1700)
    os.setxattr(root / "new/file", "user.note", b"v")
    (root / "etc/b").rename(root / "etc/moved")
    before = tree(root)
    rig.umount(root)
    await rig.unpack(KEY_B, KEY_A, await exported(rig, "container"))
    again = rig.mount(await rig.snapshots.mounts(KEY_B))
    assert tree(again) == before
    assert (again / "hard").stat().st_nlink == 2
    assert os.getxattr(again / "new/file", "user.note") == b"v"


async def test_a_replaced_directory_comes_back_without_its_old_content(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    subprocess.run(["rm", "-r", str(root / "etc")], check=True)
    (root / "etc").mkdir()
    (root / "etc/fresh").write_text("fresh")
    subprocess.run(["rm", "-r", str(root / "usr")], check=True)
    (root / "usr").write_text("a file now")
    before = tree(root)
    rig.umount(root)
    data = await exported(rig, "container")
    assert data == await exported(rig, "container"), "the same changes make the same layer"
    await rig.unpack(KEY_B, KEY_A, data)
    assert tree(rig.mount(await rig.snapshots.mounts(KEY_B))) == before


async def test_what_a_user_namespace_wrote_has_its_own_ids(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    (mount,) = await rig.snapshots.prepare("container", KEY_A)
    root, first = rig.mount((mount,)), 100_000 if mount.upper_dir else 0
    (root / "etc/own").write_text("own")
    os.chown(root / "etc/own", first + 1000, first + 50)
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry)
        for entry in ((1, 6, NO_ID), (2, 6, first + 7), (4, 4, NO_ID), (16, 6, NO_ID), (32, 0, NO_ID))
    )
    os.setxattr(root / "etc/own", "system.posix_acl_access", acl)
    (root / "usr/lib/gone").touch()
    (root / "usr/lib/gone").unlink()
    for touched in ("", "etc", "usr", "usr/lib"):  # as the kernel copies them up from layers with other ids
        os.chown(root / touched, first, first)
    os.utime(root / "usr/lib", (1_000_000_000, 1_000_000_000))
    ids = of_range(100_000, 65_536)
    assert await listed(rig, "container", ids=ids) == {("C", "/etc"), ("A", "/etc/own")}
    with tarfile.open(fileobj=io.BytesIO(await exported(rig, "container", ids=ids))) as archive:
        owners = {member.name: (member.uid, member.gid) for member in archive}
        found = archive.getmember("etc/own").pax_headers["SCHILY.xattr.system.posix_acl_access"]
    assert owners == {"etc": (0, 0), "etc/own": (1000, 50)}
    assert struct.unpack_from("<I", found.encode("utf-8", "surrogateescape"), 16) == (7,)


async def test_usage_counts_what_is_the_snapshots_own(rig: Rig) -> None:
    await rig.unpack(KEY_A, "", BASE)
    assert (await rig.snapshots.usage(KEY_A)).size_bytes == 2
    root = rig.mount(await rig.snapshots.prepare("container", KEY_A))
    before = await rig.snapshots.usage("container")
    (root / "big").write_bytes(b"x" * 300_000)
    after = await rig.snapshots.usage("container")
    assert 290_000 < after.size_bytes - before.size_bytes < 400_000
    assert after.inode_count == before.inode_count + 1


@pytest.mark.parametrize(
    "data",
    [b"", b"rubbish" * 100, BASE[:1500], tar(("x", "x"), ("../out", "x"))],
    ids=["empty-is-fine", "no-tar", "cut", "escape"],
)
async def test_a_layer_that_cannot_be_unpacked_leaves_nothing(rig: Rig, tmp_path: Path, data: bytes) -> None:
    if data:
        with pytest.raises(errors.Invalid):
            await rig.unpack(KEY_A, "", data)
        left = [path for path in (tmp_path / "snapshots").iterdir() if path.name != "trash"]
        assert left == []
        assert list((tmp_path / "snapshots/trash").iterdir()) == []
        with pytest.raises(errors.NotFound):
            await rig.snapshots.get(KEY_A)
    else:
        await rig.unpack(KEY_A, "", data)


async def test_who_is_cancelled_leaves_no_snapshot_without_files(rig: Rig) -> None:
    """A pull whose caller leaves may be cancelled while its row is being written."""
    await rig.unpack(KEY_A, "", BASE)
    for turns in range(20):
        key = f"sha256:{turns:064x}"
        async with asyncio.TaskGroup() as group:
            prepare = group.create_task(rig.snapshots.prepare(f"c{turns}", KEY_A))
            unpack = group.create_task(rig.unpack(key, KEY_A, SECOND))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            prepare.cancel()
            unpack.cancel()
    for snapshot in await rig.snapshots.page(limit=1000):
        rig.umount(rig.mount(await rig.snapshots.mounts(snapshot.key)))


async def test_a_layer_that_is_not_what_the_image_says_is_refused(rig: Rig) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await rig.unpack(KEY_A, "", BASE, Digest("0" * 64))
    assert caught.value.reason == "DIGEST_MISMATCH"
    await rig.unpack(KEY_A, "", BASE, Digest(hashlib.sha256(BASE).hexdigest()))


async def test_snapshots_are_paged_by_key(rig: Rig) -> None:
    for number in range(5):
        await rig.snapshots.prepare(f"k{number}", "")
    first = await rig.snapshots.page(limit=3)
    second = await rig.snapshots.page(after=first[-1].key, limit=3)
    assert [snapshot.key for snapshot in (*first, *second)] == [f"k{number}" for number in range(5)]


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb"])
async def test_keys_are_checked(rig: Rig, key: str) -> None:
    with pytest.raises(errors.Invalid):
        await rig.snapshots.prepare(key, "")


@pytest.fixture(autouse=True)
def no_mounts_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
