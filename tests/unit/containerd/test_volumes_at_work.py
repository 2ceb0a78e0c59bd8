"""Volumes with their real directories, driver and records, and what comes between."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.containerd.kernel import syscalls
from services.containerd.records.store import Store
from services.containerd.runtime.layout import Layout
from services.containerd.volumes import entries
from services.containerd.volumes.copies import Copies
from services.containerd.volumes.core.volume import Wanted
from services.containerd.volumes.local import LocalDriver
from services.containerd.volumes.store import VolumeStore
from services.containerd.volumes.volumes import Volumes
from services.kit import errors, system, tasks


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    layout = Layout(state=tmp_path / "state", run=tmp_path / "run")
    layout.volumes.mkdir(parents=True)
    return LocalDriver(layout)


@dataclass
class Node:
    """The volumes of a node without containers."""

    driver: LocalDriver
    volumes: Volumes
    copies: Copies


@pytest.fixture
async def node(driver: LocalDriver, tmp_path: Path) -> AsyncIterator[Node]:
    layout = Layout(state=tmp_path / "state", run=tmp_path / "run")
    store = await Store.open(layout.database, layout.contents)
    volumes = Volumes(
        VolumeStore(store.database),
        driver,
        users=lambda: (),
        publish=lambda _: None,
        clock=system.SystemClock(),
        new_id=system.new_hex_id,
    )
    yield Node(driver, volumes, Copies(volumes, driver, system.new_hex_id))
    await store.close()


def test_content_is_on_the_disk_before_its_name_is(
    driver: LocalDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = driver.aside("receiving-1")
    (aside / "_data").mkdir(parents=True)
    (aside / "_data/file").write_text("content\n")
    target = driver.directory("data")
    target.mkdir(parents=True)
    named: list[bool] = []
    monkeypatch.setattr(syscalls, "syncfs", lambda _: named.append((target / "file").exists()))
    driver.install(aside, "data")
    assert named == [False, True]
    assert not aside.exists()


async def test_a_cancelled_clone_leaves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.volumes.create(Wanted(name="src"))
    for name in ("one", "two"):
        (node.driver.directory("src") / name).write_text("content\n")
    began, go_on, copy = threading.Event(), threading.Event(), entries.copy
    copied: list[str] = []

    def slow(inner: int, outer: int, name: str, *rest: object) -> None:
        began.set()
        go_on.wait()
        copy(inner, outer, name, *rest)  # type: ignore[arg-type]
        copied.append(name)

    monkeypatch.setattr(entries, "copy", slow)
    async with tasks.Supervisor() as supervisor:
        cloning = supervisor.spawn(node.copies.clone("src", "dst"), "clone", critical=False)
        await asyncio.to_thread(began.wait)
        cloning.cancel()
        await asyncio.sleep(0)
        cloning.cancel()
        await asyncio.sleep(0)
        assert not cloning.done(), "the thread still writes"
        go_on.set()
        await asyncio.wait([cloning])
    assert cloning.cancelled()
    assert len(copied) == 1, "it ends with the file that it is at"
    assert os.listdir(node.driver.directory("x").parent.parent) == ["src"]
    assert not node.volumes.exists("dst") and not node.volumes.holders("src")
    await node.copies.clone("src", "dst")


async def test_what_resists_does_not_block_the_name(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def resist(_: str) -> None:
        raise errors.Internal("cannot remove", reason="VOLUME_REMOVE_FAILED")

    monkeypatch.setattr(node.driver, "drop_aside", resist)
    with pytest.raises(errors.Internal):
        async with node.copies.receiving(Wanted(name="dst")):
            raise RuntimeError
    assert not node.volumes.exists("dst")
