"""A disk that runs full: a small file system of its own on a loop device, or a tmpfs where there is none."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.kit import errors
from tests.component.imaged.rig import ROOTFS, Daemon, tar
from tests.component.imaged.test_archives import docker_archive

pytestmark = pytest.mark.root

DISK_BYTES = 24 << 20


@pytest.fixture
def disk(socket_dir: Path) -> Iterator[Path]:
    """Mount a small disk."""
    image, target = socket_dir / "disk.img", socket_dir / "disk"
    target.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    looped = subprocess.run(["mount", "-o", "loop", image, target], check=False, capture_output=True)
    if looped.returncode:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", target], check=True)
    yield target
    subprocess.run(["umount", target], check=True)


@pytest.fixture
async def small(make_daemon: Callable[..., Daemon], disk: Path) -> Daemon:
    """Return a daemon whose root is on the small disk."""
    daemon = make_daemon()
    daemon.root = disk / "root"
    daemon.state = daemon.root / "imaged"
    await daemon.start()
    return daemon


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def check_empty(daemon: Daemon) -> None:
    assert (daemon.blobs(), daemon.ingests(), daemon.directories(), await daemon.list()) == (
        set(),
        [],
        set(),
        [],
    )
    await daemon.trash_is_empty()


async def test_a_full_disk_during_ingest_leaves_nothing(small: Daemon) -> None:
    with pytest.raises(errors.Exhausted) as caught:
        await small.import_(tar({"big": noise(DISK_BYTES)}), "web:1")
    assert caught.value.reason == "DISK_FULL"
    assert "prune" in caught.value.message
    await check_empty(small)
    await small.import_(ROOTFS, "web:1")
    await small.stop()


async def test_a_full_disk_during_unpack_leaves_nothing(small: Daemon) -> None:
    # The blob fits, its content beside it does not.
    data = tar({"big": noise(DISK_BYTES * 11 // 20)})
    for attempt in (small.import_(data, "web:1"), small.load(docker_archive(data))):
        with pytest.raises(errors.Exhausted) as caught:
            await attempt
        assert caught.value.reason == "DISK_FULL"
        await check_empty(small)
    await small.import_(tar({"fits": noise(DISK_BYTES // 4)}), "web:1")
    assert len(await small.list()) == 1
    await small.stop()


async def test_too_many_small_files_are_a_full_disk_as_well(small: Daemon) -> None:
    files = {f"d{number // 500}/{number}": b"" for number in range(20_000)}
    with pytest.raises(errors.Exhausted) as caught:
        await small.import_(tar(files), "web:1")
    assert caught.value.reason == "DISK_FULL"
    await check_empty(small)
    await small.stop()


async def test_the_vfs_driver_notices_a_full_disk_too(make_daemon: Callable[..., Daemon], disk: Path) -> None:
    daemon = make_daemon("vfs", 'snapshotter = "vfs"')
    daemon.root, daemon.state = disk / "root", disk / "root/imaged"
    await daemon.start()
    await daemon.import_(tar({"big": noise(DISK_BYTES // 5)}), "web:1")
    await daemon.prepare("one", "web:1")
    with pytest.raises(errors.Exhausted) as caught:
        await daemon.prepare("two", "web:1")
        await daemon.prepare("three", "web:1")
    assert caught.value.reason == "DISK_FULL"
    await daemon.trash_is_empty("vfs")
    await daemon.stop()
