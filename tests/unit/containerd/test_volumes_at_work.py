"""Volumes with their real directories, driver and records, and what comes between."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.containerd.kernel import syscalls
from services.containerd.records.store import Store
from services.containerd.runtime import sharing
from services.containerd.runtime.layout import Layout
from services.containerd.volumes import entries, local
from services.containerd.volumes.copies import Copies
from services.containerd.volumes.core.volume import Wanted
from services.containerd.volumes.local import LocalDriver
from services.containerd.volumes.store import VolumeStore
from services.containerd.volumes.transfer import Transfer
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


async def test_who_trickles_leaves_to_those_who_wait(node: Node) -> None:
    transfer = Transfer(node.copies, transfers_max=1, window_s=0.05)
    goes = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        while not goes.is_set():
            yield b"\0"
            await asyncio.sleep(0.005)

    async with tasks.Supervisor() as supervisor:
        alone = supervisor.spawn(transfer.receive("alone", trickle()), "in", critical=False)
        await asyncio.sleep(0.15)  # several windows
        assert not alone.done(), "nobody waits"
        goes.set()
        await asyncio.wait([alone])
        goes.clear()
        first = supervisor.spawn(transfer.receive("first", trickle()), "in", critical=False)
        while not node.volumes.exists("first"):
            await asyncio.sleep(0)
        await node.volumes.create(Wanted(name="src"))
        taken: list[bytes] = []

        async def take(data: bytes) -> None:
            taken.append(data)

        await transfer.export("src", take)
        assert taken
        with pytest.raises(errors.Unavailable) as raised:
            await first
        assert raised.value.reason == "TRANSFER_SLOW"
    assert not node.volumes.exists("first")


async def test_clients_that_stall_keep_nothing(node: Node) -> None:
    await node.volumes.create(Wanted(name="src"))
    (node.driver.directory("src") / "big").write_bytes(bytes(1 << 20))
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(512)
        await never.wait()

    async def take_nothing(_: bytes) -> None:
        await never.wait()

    patient, impatient = Transfer(node.copies), Transfer(node.copies, stall_s=0.01)
    async with tasks.Supervisor() as supervisor:
        working = [
            *(
                supervisor.spawn(patient.receive(f"new{n}", stalled()), "in", critical=False)
                for n in range(40)
            ),
            *(
                supervisor.spawn(patient.export("src", take_nothing), "out", critical=False)
                for _ in range(40)
            ),
        ]
        while not all(node.volumes.exists(f"new{n}") for n in range(8)):  # the others wait for a slot
            await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "free"), "the threads of all others are free"
        for name, moving in (
            ("in", impatient.receive("late", stalled())),
            ("out", impatient.export("src", take_nothing)),
        ):
            with pytest.raises(errors.Unavailable, match="not moved"):
                await moving
            assert not node.volumes.exists("late"), name
        for task in working:
            task.cancel()
        await asyncio.wait(working)
    assert [found.name for found in node.volumes.all()] == ["src"]
    assert not node.volumes.holders("src")
    assert not any(node.volumes.exists(f"new{n}") for n in range(40))


async def test_the_end_of_a_worker_whose_client_has_gone_is_heard(node: Node) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: unheard.append(about))
    await node.volumes.create(Wanted(name="src"))
    (node.driver.directory("src") / "big").write_bytes(bytes(1 << 20))
    began = asyncio.Event()

    async def take(_: bytes) -> None:
        began.set()
        await asyncio.Event().wait()

    transfer = Transfer(node.copies)
    async with tasks.Supervisor() as supervisor:
        task = supervisor.spawn(transfer.export("src", take), "out", critical=False)
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert unheard == []


async def test_a_server_that_does_not_answer_holds_up_only_its_volume(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 1000\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    options = {"type": "nfs", "device": ":/x", "o": "addr=192.0.2.1"}
    await node.volumes.create(Wanted(name="far", options=options))
    async with tasks.Supervisor() as supervisor:
        waiting = supervisor.spawn(node.volumes.hold("far", "one"), "hold", critical=False)
        await asyncio.sleep(0)
        await node.volumes.create(Wanted(name="near"))
        assert (await node.volumes.hold("near", "two")).is_dir()
        await node.volumes.let_go("near", "two")
        await node.volumes.remove("near")
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert not node.volumes.holders("far")
    monkeypatch.setattr(local, "MOUNT_TIMEOUT_S", 0.01)
    with pytest.raises(errors.FailedPrecondition, match="no answer within"):
        await node.volumes.hold("far", "one")


async def test_plain_volumes_are_never_unmounted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sharing, "unmount")
    await node.volumes.create(Wanted(name="near"))
    await node.volumes.hold("near", "one")
    await node.volumes.let_go("near", "one")
    await node.volumes.remove("near")
    assert not node.driver.directory("near").exists()
