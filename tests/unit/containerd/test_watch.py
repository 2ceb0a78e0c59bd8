"""Ends of runs, noticed also when no descriptor is left."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.lifecycle.messages import ConmonLost, Exited
from services.containerd.model.status import ProcessRef, Run
from services.containerd.runtime import watch
from services.containerd.runtime.layout import Layout
from services.containerd.runtime.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextlib.contextmanager
def descriptors_max(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_end_without_descriptors_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.02)
    layout = Layout(state=tmp_path / "s", run=tmp_path / "r")
    layout.make()
    ended: dict[str, Exited | ConmonLost] = {}
    children = [subprocess.Popen(["sleep", "100"]) for _ in range(6)]

    def reference(child: subprocess.Popen[bytes]) -> ProcessRef:
        found = processes.reference(child.pid)
        assert found is not None
        return found

    watcher = Watcher(layout, ended.__setitem__, lambda _: None)
    try:
        for name, init, conmon in zip("abc", children[::2], children[1::2], strict=True):
            watcher.watch(name, Run(init=reference(init), conmon=reference(conmon), boot_id="b"))
        for name in "ab":
            (layout.exits / f".{name}").write_text("7")
        with descriptors_max(3):
            for name in "ab":
                (layout.exits / f".{name}").rename(layout.exits / name)
            for child in children:
                child.kill()
            await asyncio.sleep(0.1)
            assert not ended
        async with asyncio.timeout(10):
            while len(ended) < 3:
                await asyncio.sleep(0.01)
    finally:
        watcher.close()
        for child in children:
            child.kill()
            child.wait()
    assert isinstance(ended["c"], ConmonLost)
    for name in "ab":
        end = ended[name]
        assert isinstance(end, Exited)
        assert end.exit_code == 7
