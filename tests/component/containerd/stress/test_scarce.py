"""Too little disk, too few files: clear errors, a daemon that lives, and everything works again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.kernel import syscalls
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.stress.conftest import warm_up
from tests.component.containerd.stress.footprint import METRICS, footprint, grown
from tests.component.containerd.yard import Yard, yard

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

FILES_MAX = 90


@contextlib.contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "by-small", str(directory)], check=True)
    try:
        yield directory
    finally:
        syscalls.umount(directory, syscalls.MNT_DETACH)


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk(socket_dir: Path) -> None:
    with _small_disk(socket_dir / "s") as disk:
        async with yard(socket_dir, **METRICS) as made:
            await warm_up(made)
            before = await footprint(made)
            runs = await made.create("sh", "-c", "while :; do echo a line; sleep 0.02; done", name="runs")
            await made.start(runs)
            while not await made.logs(runs):
                await asyncio.sleep(0.02)
            idle = await made.create("sleep", "1000", name="idle")
            filler = disk / "filler"
            _fill(filler)
            calls = (made.create("true", name="new"), made.start(idle), made.remove(idle))
            outcomes = await asyncio.gather(
                *(asyncio.wait_for(call, 15) for call in calls), return_exceptions=True
            )
            failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert failed, "nothing was refused on a full disk"
            assert all(getattr(outcome, "reason", "") == "DISK_FULL" for outcome in failed), failed
            assert {entry.name for entry in await made.list()} >= {"runs"}
            assert await made.logs(runs)
            filler.unlink()
            await asyncio.sleep(1.5)  # writes that failed are tried again each second
            assert made.process is not None
            assert made.process.poll() is None
            for container in await made.list():
                await made.remove(container.id)
            again, ended = await made.run_to_end("true", name="idle")
            assert ended.exit_code == 0
            await made.remove(again)
            await made.clear()
            assert await grown(made, before) == {}
            await made.kill_daemon()
            with contextlib.closing(sqlite3.connect(made.root / "containerd/state.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            await made.start_daemon()
            assert await made.list() == []
            assert made.remains() == []
            assert await grown(made, before) == {}


@contextlib.asynccontextmanager
async def _short_of_files(made: Yard) -> AsyncIterator[None]:
    """Let the daemon open no more files than it has, and few more."""
    assert made.process is not None
    pid = made.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 12
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def test_too_few_files(own: Yard) -> None:
    containers = [await own.create("sleep", "1000") for _ in range(20)]
    kept = containers.pop()
    await own.start(kept)
    async with _short_of_files(own):
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*map(own.start, containers), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert failed, "twenty containers need more files than that"
        assert all(isinstance(outcome, errors.BeeyardError) for outcome in failed), failed
    assert own.process is not None
    assert own.process.poll() is None
    assert (await own.get(kept)).status.state == pb.CONTAINER_STATE_RUNNING
    for container in containers:
        async with asyncio.timeout(30):
            await own.start(container)
    for container in (kept, *containers):
        await client.call(
            own.stub.RemoveContainer(pb.RemoveContainerRequest(container=container, force=True))
        )
    async with asyncio.timeout(20):
        while own.remains():
            await asyncio.sleep(0.05)
