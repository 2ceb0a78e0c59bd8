"""The daemon is killed at every point that matters, and its successor finds nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from beeyard.image.v1 import snapshot_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.imaged.rig import ROOTFS, Daemon, tar
from tests.component.imaged.test_archives import SECOND, docker_archive

pytestmark = [pytest.mark.root, pytest.mark.slow]

ARCHIVE = docker_archive(ROOTFS, SECOND, tags=["web:1"])


async def load(daemon: Daemon) -> None:
    await daemon.load(ARCHIVE)


async def import_(daemon: Daemon) -> None:
    await daemon.import_(tar({"fresh": "x"}), "fresh:1")


async def prepare(daemon: Daemon) -> None:
    await daemon.prepare("container", "base:1")


async def remove_container(daemon: Daemon) -> None:
    await daemon.prepare("container", "base:1")
    await daemon.remove_snapshot("container")


async def remove_image(daemon: Daemon) -> None:
    await daemon.remove("base:1")


async def commit(daemon: Daemon) -> None:
    await daemon.prepare("container", "base:1")
    await client.call(
        daemon.snapshots.CommitImage(snapshot_pb2.CommitImageRequest(key="container", reference="made:1"))
    )


CASES: list[tuple[str, Callable[[Daemon], Awaitable[None]]]] = [
    ("ingest.opened", import_),
    ("ingest.half_written", import_),
    ("ingest.before_rename", import_),
    ("ingest.after_rename", import_),
    ("snapshot.directory_made", import_),
    ("unpack.before_record", import_),
    ("unpack.after_record", import_),
    ("image.before_record", import_),
    ("image.after_record", import_),
    ("ingest.half_written:2", load),
    ("ingest.before_rename:2", load),
    ("ingest.after_rename:3", load),
    ("unpack.before_record:2", load),
    ("unpack.after_record", load),
    ("image.before_record", load),
    ("image.after_record", load),
    ("prepare.before_record", prepare),
    ("remove.after_record", remove_container),
    ("gc.before_sweep:2", remove_image),
    ("gc.half_swept", remove_image),
    ("gc.half_swept:2", remove_image),
    ("remove.after_record", remove_image),
    ("unpack.before_record", commit),
    ("image.before_record", commit),
]


def rows(daemon: Daemon, query: str) -> set[str]:
    with contextlib.closing(
        sqlite3.connect(f"file:{daemon.state / 'metadata.db'}?mode=ro", uri=True)
    ) as database:
        return {row[0] for row in database.execute(query)}


async def check_consistent(daemon: Daemon) -> None:
    """Everything that is there is whole and wanted, and nothing else is there."""
    images = await daemon.list()
    wanted: set[str] = set()
    for number, image in enumerate(images):
        wanted |= {image.id, image.manifest_digest, *image.diff_ids}
        (mount,) = (await daemon.prepare(f"probe{number}", image.id)).mounts
        assert len(mount.lower_dirs) == len(image.diff_ids)
        assert all(Path(lower).is_dir() for lower in mount.lower_dirs)
        await daemon.remove_snapshot(f"probe{number}")
    assert daemon.blobs() == {digest.removeprefix("sha256:") for digest in wanted}
    assert daemon.directories() == rows(daemon, "SELECT directory FROM snapshots WHERE directory <> ''")
    assert daemon.ingests() == []
    assert rows(daemon, "SELECT id FROM leases") == set()
    await daemon.trash_is_empty()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with one image, made once."""
    directory = tmp_path_factory.mktemp("template")

    async def make() -> None:
        daemon = Daemon(directory)
        await daemon.start()
        await daemon.import_(tar({"base": "x"}), "base:1")
        await daemon.stop()

    asyncio.run(make())
    return directory / "root"


@pytest.fixture
def based(make_daemon: Callable[..., Daemon], template: Path) -> Daemon:
    """Return a daemon that has an image, not started."""
    daemon = make_daemon()
    shutil.copytree(template, daemon.root)
    return daemon


@pytest.mark.parametrize(("fault", "work"), CASES, ids=[f"{fault}-{work.__name__}" for fault, work in CASES])
async def test_a_crash_leaves_nothing_half_done(
    based: Daemon, fault: str, work: Callable[[Daemon], Awaitable[None]]
) -> None:
    daemon = based
    await daemon.start(fault)
    with pytest.raises(errors.Unavailable):
        await work(daemon)
    await daemon.died()
    await daemon.start()
    tags = await daemon.tags()
    assert set(tags) <= {"base:1", "web:1", "fresh:1", "made:1"}
    await check_consistent(daemon)
    if work is remove_image:
        with contextlib.suppress(errors.NotFound):
            await work(daemon)
        assert await daemon.tags() == []
    else:
        await work(daemon)
    await check_consistent(daemon)


@pytest.mark.parametrize("seed", range(2))
async def test_kills_at_any_moment(based: Daemon, seed: int) -> None:
    rng = random.Random(seed)
    daemon = based
    for _ in range(3):
        await daemon.start()
        work = asyncio.gather(load(daemon), import_(daemon), commit(daemon), return_exceptions=True)
        await asyncio.sleep(rng.uniform(0, 0.3))
        await daemon.kill()
        await work
        await daemon.start()
        with contextlib.suppress(errors.NotFound):
            await daemon.remove_snapshot("container")
        await check_consistent(daemon)
        await daemon.stop()


async def test_a_layer_that_was_lost_is_unpacked_again(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    await daemon.start()
    await daemon.load(ARCHIVE)
    (mount,) = (await daemon.prepare("container", "web:1")).mounts
    (Path(mount.upper_dir) / "mine").touch()
    await daemon.stop()
    # As after a power cut: one layer's row is of another boot, the other's directory is gone.
    with contextlib.closing(sqlite3.connect(daemon.state / "metadata.db")) as database:
        database.execute("UPDATE snapshots SET boot_id = 'another' WHERE parent = ''")
        database.commit()
    lost = Path(mount.lower_dirs[0]).parent
    lost.rename(daemon.root / "elsewhere")
    await daemon.start()
    request = snapshot_pb2.GetMountsRequest(key="container")
    (again,) = (await client.call(daemon.snapshots.GetMounts(request))).mounts
    assert again.upper_dir == mount.upper_dir
    assert (Path(again.upper_dir) / "mine").exists()
    assert set(again.lower_dirs).isdisjoint(mount.lower_dirs)
    assert (Path(again.lower_dirs[0]) / "srv/page").read_text() == "hello"


async def test_a_writable_snapshot_that_was_lost_is_told(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    await daemon.start()
    await daemon.import_(ROOTFS, "web:1")
    (mount,) = (await daemon.prepare("container", "web:1")).mounts
    await daemon.stop()
    Path(mount.upper_dir).parent.rename(daemon.root / "elsewhere")
    await daemon.start()
    with pytest.raises(errors.FailedPrecondition) as caught:
        await client.call(daemon.snapshots.GetMounts(snapshot_pb2.GetMountsRequest(key="container")))
    assert caught.value.reason == "SNAPSHOT_LOST"
    await daemon.remove_snapshot("container")
    await check_consistent(daemon)


async def test_the_collector_removes_nothing_when_it_cannot_see(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(settings="gc_interval_s = 1.0")
    await daemon.start()
    made = await daemon.import_(ROOTFS, "web:1")
    other = await daemon.import_(tar({"x": "y"}), "other:1")
    await daemon.stop()
    manifest = daemon.state / "content/blobs/sha256" / made.manifest_digest.removeprefix("sha256:")
    whole = manifest.read_bytes()
    manifest.chmod(0o600)
    manifest.write_bytes(whole[:-1] + b" ")
    await daemon.start()
    await asyncio.sleep(2)
    assert len(daemon.blobs()) == 6
    assert (await daemon.get("other:1")).id == other.image_id, "the others still work"
    with pytest.raises(errors.Internal, match="damaged") as caught:
        await daemon.get("web:1")
    assert caught.value.reason == "CONTENT_CORRUPT"
    await daemon.remove("web:1")
    assert len(daemon.blobs()) == 3
    assert "garbage_not_collected" in daemon.log.read_text()
