"""What execs leave when they cannot start, or are given up."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.containerd import execs_left
from services.containerd.runtime.conmon_exec import ExecProcess
from services.containerd.runtime.layout import Layout
from services.kit.tasks import Supervisor


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_exec_without_descriptors_leaves_none(tmp_path: Path) -> None:
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Room for one pipe and a half. Free numbers below the limit count, so it is taken up to the highest in use.
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    taken: list[int] = []
    top = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1
    try:
        while not taken or taken[-1] < top + 3:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        for fd in taken[-3:]:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            ExecProcess(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken[:-3]:
            os.close(fd)
    assert descriptors() == before


async def test_a_directory_goes_after_the_conmon_that_writes_there(tmp_path: Path) -> None:
    directory = tmp_path / "exec"
    directory.mkdir()
    waiting = "import sys; sys.stdin.read()"
    conmon = subprocess.Popen([sys.executable, "-c", waiting, str(directory)], stdin=subprocess.PIPE)
    assert conmon.stdin is not None
    async with Supervisor() as supervisor, asyncio.timeout(10):
        removing = supervisor.spawn(execs_left.remove_when_ended(directory), "remove", critical=False)
        await asyncio.sleep(0.05)
        (directory / "pidfile").write_text("1")
        assert not removing.done()
        conmon.stdin.close()
        while conmon.poll() is None:
            await asyncio.sleep(0.01)
        await removing
    assert not directory.exists()


async def test_a_bundle_that_goes_amid_the_clearing_is_no_fault(tmp_path: Path) -> None:
    layout = Layout(state=tmp_path / "s", run=tmp_path / "r")
    layout.make()
    left = layout.bundles / "a" / "exec" / "one"
    left.mkdir(parents=True)
    async with Supervisor() as supervisor:
        execs_left.clear(layout, supervisor)
        assert not left.exists()
        shutil.rmtree(layout.bundles)
        execs_left.clear(layout, supervisor)
