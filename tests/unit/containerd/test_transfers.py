"""Copies by worker processes: slots, and clients who keep them."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import pytest

from services.containerd.files.archive.unpacking import Unpacked, Unpacking
from services.containerd.files.transfers import Interruption, Root, Transfers, open_root
from services.kit import errors, tasks


def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    return made.getvalue()


async def test_who_trickles_leaves_to_those_who_wait(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in archive()[:512]:
            yield bytes([byte])
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    async def whole() -> AsyncIterator[bytes]:
        yield archive()

    def copy(chunks: AsyncIterator[bytes], name: str) -> Coroutine[None, None, Unpacked]:
        (tmp_path / name).mkdir()
        root = Root(open_root(tmp_path / name))
        interruption = Interruption(errors.FailedPrecondition("started"))
        return transfers.write(root, "/", Unpacking(), chunks, interruption)

    async with (
        asyncio.timeout(20),
        Transfers(workers_max=1, window_s=0.05) as transfers,
        tasks.Supervisor() as supervisor,
    ):
        slow = supervisor.spawn(copy(trickle(), "slow"), "slow", critical=False)
        await asyncio.sleep(0.2)
        assert not slow.done(), "nobody waits"
        await copy(whole(), "fast")
        assert (tmp_path / "fast/file").is_file()
        with pytest.raises(errors.Unavailable) as raised:
            await slow
        assert raised.value.reason == "TRANSFER_SLOW"
