"""Containers with ids of their own on a node of real daemons: files, volumes, ports, and images made of them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.containerd.node import IDS_START, Node, node
from tests.system.containerd.test_node import reads
from tests.system.netd.world import NODE, Namespace, node_and_client

pytestmark = [pytest.mark.root, pytest.mark.slow]

AUTO = IDS_START + 65_536
SERVE = """
echo mine > /own; chown alice:staff /own; mkdir /etc/deep; chmod 4755 /own
echo kept > /data/f; chown alice /data/f; rm /bin/true
cat /proc/self/uid_map
while :; do echo hello | nc -l -p 80; done
"""
LOOK = "stat -c '%u:%g %a' / /bin /own /etc/deep /data/f; cat /own; test -e /bin/true || echo gone"
SEEN = ["0:0 755", "0:0 755", "1000:50 4755", "0:0 755", "1000:0 644", "mine", "gone"]


@pytest.fixture
def namespaces(socket_dir: Path) -> Iterator[tuple[Namespace, Namespace]]:
    with node_and_client(socket_dir) as both:
        yield both


@pytest.fixture
async def real(socket_dir: Path, namespaces: tuple[Namespace, Namespace]) -> AsyncIterator[Node]:
    async with node(socket_dir, namespaces[0]) as made:
        yield made


async def done(real: Node, *arguments: str, stdin: bytes = b"") -> bytes:
    code, out, err = await real.swarmctl(*arguments, stdin=stdin)
    assert code == 0, (arguments, err)
    return out


def owners_in(archive: bytes) -> dict[str, tuple[int, int]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name.rstrip("/"): (member.uid, member.gid) for member in tar}


def owner_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


async def test_a_life_with_ids_of_its_own(
    real: Node, namespaces: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    options = ("--userns=auto", "--name", "web", "-p", "8080:80", "-v", "data:/data")
    await done(real, "run", "-d", *options, "box", "sh", "-c", SERVE)
    assert "hello" in await reads(namespaces[1], NODE, 8080)
    assert (await done(real, "logs", "web")).split() == [b"0", str(AUTO).encode(), b"65536"]
    pid = (await real.get("web")).status.pid
    assert Path(f"/proc/{pid}").stat().st_uid == AUTO, "its root is nobody on the node"
    (own,) = (real.root / "imaged").glob("**/own")
    assert owner_of(own) == (AUTO + 1000, AUTO + 50)
    assert owner_of(real.root / "containerd/volumes/data/_data/f") == (1000, 0)
    changed = {path.strip() for path in (await done(real, "diff", "web")).decode().splitlines()}
    assert changed == {"C /bin", "D /bin/true", "C /etc", "A /etc/deep", "A /own"}

    await done(real, "commit", "web", "made:1")
    for userns in ("host", "auto"):
        arguments = ("run", "--rm", f"--userns={userns}", "-v", "data:/data", "made:1", "sh", "-c", LOOK)
        assert (await done(real, *arguments)).decode().splitlines() == SEEN

    (tmp_path / "sent").write_text("sent")
    os.chown(tmp_path / "sent", 1000, 50)
    for number in range(2):
        for place in ("etc/deep", "data"):
            await done(real, "cp", str(tmp_path / "sent"), f"web:/{place}/sent-{number}")
        assert owner_of(own.parent / f"etc/deep/sent-{number}") == (AUTO + 1000, AUTO + 50)
        assert owner_of(real.root / f"containerd/volumes/data/_data/sent-{number}") == (1000, 50)
        await done(real, "cp", "-a", "web:/own", str(tmp_path / f"own-{number}"))
        assert owner_of(tmp_path / f"own-{number}") == (1000, 50)
        assert owners_in(await done(real, "cp", "web:/data", "-"))["data/sent-0"] == (1000, 50)
        exported = owners_in(await done(real, "export", "web"))
        assert exported["own"] == (1000, 50)
        assert set(exported.values()) == {(0, 0), (1000, 50)}
        if number == 0:
            await done(real, "stop", "-t", "0", "web")
            assert real.remains() == []
    await done(real, "start", "web")
    look = await done(real, "exec", "web", "sh", "-c", "stat -c '%u:%g' /etc/deep/* /data/*; id -u")
    assert look.split() == [b"1000:50", b"1000:50", b"1000:0", b"1000:50", b"1000:50", b"0"]
    await done(real, "rm", "-f", "web")
    assert real.remains() == []
