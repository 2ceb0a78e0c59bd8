"""Files of containers by `swarmctl`, on a node of real daemons."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.containerd.node import Node, node
from tests.system.netd.world import node_and_client

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
async def real(socket_dir: Path) -> AsyncIterator[Node]:
    with node_and_client(socket_dir) as both:
        async with node(socket_dir, both[0]) as made:
            yield made


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


async def test_files_go_in_and_out(real: Node, tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "f").write_bytes(os.urandom(3 << 20))
    (tmp_path / "d" / "link").symlink_to("sub/f")
    running = (await real.begin("sleep", "1000")).id
    for container in (running, await real.create("sleep", "1000")):
        assert await real.swarmctl("cp", str(tmp_path / "d"), f"{container}:/tmp/new") == (0, b"", "")
        back = tmp_path / f"back-{container[:6]}"
        assert (await real.swarmctl("cp", f"{container}:/tmp/new/.", str(back)))[0] == 0
        assert (back / "sub" / "f").read_bytes() == (tmp_path / "d" / "sub" / "f").read_bytes()
        assert os.readlink(back / "link") == "sub/f"
        assert (await real.swarmctl("cp", "-L", f"{container}:/tmp/new/link", str(back)))[0] == 0
        assert (back / "link").read_bytes() == (back / "sub" / "f").read_bytes()
        code, data, _ = await real.swarmctl("cp", f"{container}:/tmp/new/sub", "-")
        assert code == 0
        assert names_in(data) == ["sub", "sub/f"]
        assert (await real.swarmctl("cp", "-", f"{container}:/", stdin=data))[0] == 0
        code, data, _ = await real.swarmctl("export", container)
        names = names_in(data)
        assert code == 0 and {"tmp/new/sub/f", "sub/f", "bin/busybox"} <= set(names)
        assert not [name for name in names if name.startswith(("proc/", "sys/", "dev/"))]
    _, table, _ = await real.swarmctl("system", "df")
    kinds = [line.split("  ")[0] for line in table.decode().splitlines()]
    assert kinds == ["TYPE", "Images", "Containers", "Local Volumes", "Build Cache"]
    _, shown, _ = await real.swarmctl("system", "df", "-v", "--format", "json")
    usage = json.loads(shown)
    assert [row["Size"][:3] for row in usage["Containers"]] == [
        "6.3",
        "6.3",
    ]  # two files of 3 MiB, and directories
    assert (usage["Images"][0]["Containers"], usage["Images"][0]["SharedSize"]) == ("2", "0B")
    code, shown, _ = await real.swarmctl("system", "df", "-v")
    titles = [line.decode() for line in shown.splitlines() if line.endswith(b"usage:")]
    assert code == 0 and titles == [
        f"{kind} space usage:" for kind in ("Images", "Containers", "Local Volumes")
    ]
    code, _, err = await real.swarmctl("cp", f"{running}:/none", str(tmp_path))
    assert (code, err.strip()) == (1, f"Error: Could not find the file /none in container {running}")
