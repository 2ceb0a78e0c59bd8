"""Logs in a real journal: systemd-journald runs by itself in a mount namespace, and the daemon with it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit.rpc import client
from tests.component.containerd.yard import Yard, yard

JOURNALD = Path("/lib/systemd/systemd-journald")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not JOURNALD.exists(), reason="systemd-journald is not installed"),
]
START_S_MAX = 20.0
LOG = spec_pb2.LogConfig(driver="journald", options={"labels": "a"})
_ALONE = f"""
set -e
mount --make-rslave /
for directory in /run/systemd /run/log /var/log; do mount -t tmpfs none $directory; done
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nRateLimitBurst=0\\n' >/run/systemd/journald.conf.d/alone.conf
exec {JOURNALD}
"""
"""What is mounted here is seen by nobody outside, and goes with the last process inside."""


@contextlib.contextmanager
def journal() -> Iterator[int]:
    """Yield the pid of a journald of one's own."""
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _ALONE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def logging(socket_dir: Path) -> AsyncIterator[Yard]:
    with journal() as pid:
        async with asyncio.timeout(START_S_MAX):
            while not _inside(pid, "run/systemd/journal/socket").is_socket():
                await asyncio.sleep(0.02)
        async with yard(socket_dir, enter=("nsenter", f"--mount=/proc/{pid}/ns/mnt")) as made:
            yield made


async def test_a_log_in_the_journal_is_read_as_any_other(logging: Yard) -> None:
    script = """
    echo out; echo err >&2; printf part; sleep 0.1; echo ial; head -c 20000 /dev/zero | tr '\\0' x; echo
    printf '\\001\\377\\n\\n'; printf end
    """
    fields = {"network": "host", "log": LOG, "labels": {"a": "1", "b": "2"}}
    container, _ = await logging.run_to_end("sh", "-c", script, **fields)
    lines = await logging.logs(container)
    assert [line.data for line in lines] == [
        b"out\n", b"err\n", b"partial\n", b"x" * 20000 + b"\n", b"\x01\xff\n", b"\n", b"end",
    ]  # fmt: skip
    assert [line.stream for line in lines].count(pb.OUTPUT_STREAM_STDERR) == 1
    for tail in (0, 1, 4, 100):
        assert await logging.logs(container, tail=tail) == (lines[-tail:] if tail else [])
    third = lines[2].time
    assert [line.data for line in await logging.logs(container, since=third)] == [x.data for x in lines[2:]]
    assert [line.data for line in await logging.logs(container, until=third)] == [x.data for x in lines[:3]]
    assert [line.data for line in await logging.logs(container, no_stdout=True)] == [b"err\n"]
    assert {str(line.attributes) for line in await logging.logs(container, details=True)} == {"{'a': '1'}"}

    script = "echo first; until [ -e /go ]; do sleep 0.1; done; echo last"
    follower = await logging.create("sh", "-c", script, **fields)
    pid = await logging.start(follower)
    request = pb.GetLogsRequest(container=follower, follow=True, tail=10)
    batches = client.stream(logging.stub.GetLogs(request))
    seen = b"".join([line.data for line in (await anext(batches)).lines])
    assert seen == b"first\n"
    _inside(pid, "go").touch()
    seen += b"".join([line.data async for batch in batches for line in batch.lines])
    assert seen == b"first\nlast\n"
    await logging.clear()


def _inside(pid: int, path: str) -> Path:
    """Return a path as a process sees it."""
    return Path("/proc", str(pid), "root", path)
