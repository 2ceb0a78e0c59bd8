"""The daemon is killed at each step of making, filling, receiving and removing a volume."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from beeyard.container.v1 import spec_pb2, volume_pb2
from services.containerd.lifecycle import faults
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.volume_calls import Calls
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


def mounted(name: str = "") -> list[spec_pb2.Mount]:
    return [spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_VOLUME, source=name, target="/usr")]


async def make(calls: Calls) -> None:
    """Make, fill, clone and remove volumes: passes every point."""
    yard = calls.yard
    await yard.run_to_end("true", mounts=mounted("data"), name="first")
    clone = volume_pb2.CloneVolumeRequest(source="data", target="twin")
    await client.call(calls.stub.CloneVolume(clone))
    await calls.create("gone")
    await calls.remove("gone")


async def test_every_step(own: Yard) -> None:
    calls = Calls(own)
    for number in range(40):
        (own.imaged.lower / f"usr/file{number}").write_text("content\n")
    await own.stop_daemon()
    for point in faults.VOLUME_POINTS:
        await own.start_daemon(fault=point)
        with contextlib.suppress(errors.BeeyardError):
            await make(calls)
        assert await own.daemon_gone() == -9, f"{point} was not reached"
        await own.start_daemon()
        assert [name for name in os.listdir(calls.directory) if name.startswith(".")] == [], point
        shown = await calls.names()
        assert set(shown) <= {"data", "twin", "gone"}, point
        if "twin" in shown:
            assert len(list(Path((await calls.get("twin")).mountpoint).glob("file*"))) == 40, (
                f"half a clone: {point}"
            )
        await own.clear()
        _, ended = await own.run_to_end("sh", "-c", "set -- /usr/file*; test $# = 40", mounts=mounted("data"))
        assert ended.exit_code == 0, f"half a volume was mounted: {point}"
        await own.clear()
        await calls.clear()
        assert os.listdir(calls.directory) == [], point
        await own.stop_daemon()


async def test_what_is_on_the_disk_without_a_record_is_kept(own: Yard) -> None:
    calls = Calls(own)
    place = Path((await calls.create("data")).mountpoint)
    (place / "file").write_text("precious\n")
    container = await own.create("true", mounts=mounted())
    await own.stop_daemon()
    for name in ("found", "no volume", ".left"):
        (calls.directory / name / "_data").mkdir(parents=True)
        (calls.directory / name / "_data/file").write_text("precious\n")
    await own.start_daemon()
    (anonymous,) = [name for name in await calls.names() if len(name) == 64]
    assert await calls.names() == sorted([anonymous, "data", "found"])
    assert (await calls.get("found")).anonymous is False
    assert sorted(set(os.listdir(calls.directory)) - {anonymous}) == ["data", "found", "no volume"]
    assert (place / "file").read_text() == "precious\n"
    assert [point.name for point in (await own.get(container)).mount_points] == [anonymous]
