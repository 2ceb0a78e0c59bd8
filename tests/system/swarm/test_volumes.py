"""Volumes of services and of other nodes, through the whole of a swarm."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.swarm.lab import Lab, lab, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

MANAGER, WORKER = "manager-1", "worker-1"


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    yield from lab("vols", "--managers", "1", "--workers", "1")


def test_tasks_share_a_volume_of_their_node(swarm: Lab, tmp_path: Path) -> None:
    swarm.ctl(
        MANAGER,
        *("service", "create", "--detach", "--name", "web", "--replicas", "2"),
        *("--constraint", f"node.hostname=={WORKER}"),
        *(
            "--mount",
            "type=volume,src=data,dst=/data,volume-label=tier=db",
            "--mount",
            "type=volume,dst=/own",
        ),
        "web:1",
    )
    tasks = wait_until(
        "both run", lambda: (found := swarm.running(MANAGER, "web")) and len(found) == 2 and found
    )
    assert len(tasks) == 2
    writer, reader = swarm.ctl(MANAGER, "--node", WORKER, "ps", "-q").split()
    swarm.ctl(MANAGER, "--node", WORKER, "exec", writer, "sh", "-c", "echo shared >/data/file")
    assert swarm.ctl(MANAGER, "--node", WORKER, "exec", reader, "cat", "/data/file") == "shared\n"

    names = swarm.ctl(MANAGER, "--node", WORKER, "volume", "ls", "-q").split()
    assert len(names) == 3 and "data" in names, "one of them all, and one of each"
    assert swarm.ctl(MANAGER, "volume", "ls", "-q") == "", "the manager has none"
    refused = swarm.try_ctl(MANAGER, "--node", WORKER, "volume", "rm", "data")
    assert refused.code == 1 and "volume is in use" in refused.err

    archive = tmp_path / "data.tar"
    swarm.ctl(MANAGER, "--node", WORKER, "volume", "export", "data", "-o", str(archive))
    with tarfile.open(archive) as tar:
        assert {entry.name.removeprefix("./") for entry in tar} >= {"file"}
    swarm.ctl(MANAGER, "volume", "import", "copy", str(archive))
    assert swarm.ctl(MANAGER, "run", "--rm", "-v", "copy:/c:ro", "web:1", "cat", "/c/file") == "shared\n"

    swarm.ctl(MANAGER, "service", "rm", "web")
    wait_until(
        "the volumes of single tasks go with them",
        lambda: swarm.ctl(MANAGER, "--node", WORKER, "volume", "ls", "-q").split() == ["data"],
    )
