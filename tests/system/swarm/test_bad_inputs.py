"""Bad input: a clear error, nothing left behind, and the daemons live on."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.swarm.lab import ROOT, Lab, lab, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """One manager in a swarm, and one machine that is in none."""
    for made in lab("bad", "--managers", "2", "--workers", "0", "--no-swarm"):
        made.ctl("manager-1", "swarm", "init", "--advertise-addr", "10.77.0.1:2377")
        yield made


def refused(pair: Lab, node: str, *arguments: str, says: str, code: int = 1, stdin: bytes = b"") -> None:
    result = pair.try_ctl(node, *arguments, stdin=stdin)
    assert result.code == code, result
    assert re.search(says, result.err), result.err
    assert "Traceback" not in result.err


def test_a_wrong_join_token_is_refused(pair: Lab) -> None:
    token = pair.ctl("manager-1", "swarm", "join-token", "-q", "worker").strip()
    wrong = token[:-4] + ("aaaa" if not token.endswith("aaaa") else "bbbb")
    refused(pair, "manager-2", "swarm", "join", "--token", wrong, "10.77.0.1:2377", says="(?i)token")
    state = pair.try_ctl("manager-2", "node", "ls")
    assert "not a swarm manager" in state.err, "the machine is as it was"
    assert len(pair.rows("manager-1", "node", "ls")) == 1


def test_the_token_of_another_swarm_is_refused(pair: Lab) -> None:
    token = pair.ctl("manager-1", "swarm", "join-token", "-q", "worker").strip()
    prefix, version, digest, secret = token.split("-")
    other = "-".join([prefix, version, digest[:-1] + ("a" if digest[-1] != "a" else "b"), secret])
    refused(
        pair,
        "manager-2",
        "swarm",
        "join",
        "--token",
        other,
        "10.77.0.1:2377",
        says="(?i)another swarm|different swarm",
    )
    refused(pair, "manager-2", "swarm", "join", "--token", "nonsense", "10.77.0.1:2377", says="(?i)token")


def test_an_unknown_image_shows_its_reason(pair: Lab) -> None:
    pair.ctl(
        "manager-1",
        *(
            "service",
            "create",
            "--detach",
            "--restart-max-attempts",
            "1",
            "--restart-delay",
            "1s",
            "--name",
            "ghost",
            "ghost:9",
        ),
    )
    rows = wait_until(
        "the reason shows",
        lambda: [
            task
            for task in pair.rows("manager-1", "service", "ps", "--no-trunc", "ghost")
            if "ghost:9" in task["Error"] and "Rejected" in task["CurrentState"]
        ],
    )
    assert rows
    pair.ctl("manager-1", "service", "rm", "ghost")


def test_a_constraint_that_no_node_meets_shows_its_reason(pair: Lab) -> None:
    pair.ctl(
        "manager-1",
        *(
            "service",
            "create",
            "--detach",
            "--constraint",
            "node.labels.moon==full",
            "--name",
            "moon",
            "web:1",
        ),
    )
    wait_until(
        "the reason shows",
        lambda: (
            "no suitable node (scheduling constraints not satisfied on 1 node)"
            in pair.ctl("manager-1", "service", "ps", "--no-trunc", "moon")
        ),
    )
    pair.ctl("manager-1", "service", "rm", "moon")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--replicas", "-1", "web:1"], "replicas"),
        (["--name", "no spaces", "web:1"], "name"),
        (["--constraint", "bogus", "web:1"], "(?i)constraint"),
        (["--limit-memory", "1k", "web:1"], "(?i)memory"),
        (["--publish", "99999:80", "web:1"], "1-65535"),
        (["--mount", "type=bind,target=/x", "web:1"], "source"),
        (["NotAn Image"], "(?i)reference|image"),
    ],
)
def test_a_bad_service_is_refused_and_not_made(pair: Lab, arguments: list[str], says: str) -> None:
    result = pair.try_ctl("manager-1", "service", "create", "--detach", *arguments)
    assert result.code != 0
    assert re.search(says, result.err), result.err
    assert not pair.rows("manager-1", "service", "ls")


def test_a_huge_spec_is_refused(pair: Lab) -> None:
    import grpc

    from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2

    node = pair.nodes()["manager-1"]
    with grpc.insecure_channel(
        f"unix:{node['run']}/swarmd.sock", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        spec = objects_pb2.ServiceSpec(annotations=objects_pb2.Annotations(name="huge"))
        spec.task.container.image = "web:1"
        spec.task.container.env.append("X=" + "x" * (3 << 20))
        with pytest.raises(grpc.RpcError) as caught:
            control_pb2_grpc.ServiceServiceStub(channel).CreateService(
                control_pb2.CreateServiceRequest(spec=spec)
            )
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert "is of 3MiB" in str(caught.value)
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]  # type: ignore[attr-defined]
        assert b"SPEC_TOO_LARGE" in details, "programs get the stable reason"
    assert not pair.rows("manager-1", "service", "ls")


def test_a_corrupt_archive_is_refused(pair: Lab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"this is no tar archive at all" * 1000)
    before = pair.ctl("manager-1", "images", "-q")
    refused(pair, "manager-1", "image", "import", str(broken), "broken:1", says="(?i)archive|tar")
    refused(pair, "manager-1", "image", "load", "-i", str(broken), says="(?i)archive|tar")
    assert pair.ctl("manager-1", "images", "-q") == before


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"owned\n") if member.isreg() else None)
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(b"owned\n") if kind == tarfile.REGTYPE else 0
    return info


def test_an_archive_cannot_reach_out_of_its_root(pair: Lab, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("intact")
    escapes = [
        (_member("../../../../../../../../../.." + str(canary)),),
        (_member("way", tarfile.SYMTYPE, str(tmp_path)), _member("way/canary")),
        (_member("hard", tarfile.LNKTYPE, str(canary)), _member("hard")),
        (_member("up", tarfile.SYMTYPE, "../" * 20 + str(tmp_path)[1:]), _member("up/canary")),
    ]
    for number, members in enumerate(escapes):
        archive = _tar(tmp_path / f"escape{number}.tar", *members)
        pair.try_ctl("manager-1", "image", "import", str(archive), f"escape:{number}")
        assert canary.read_text() == "intact"
    assert pair.ctl("manager-1", "images", "-q"), "the daemon lives on"


def test_a_full_disk_refuses_an_import_and_keeps_nothing(pair: Lab, tmp_path: Path) -> None:
    disk, mount = tmp_path / "disk", tmp_path / "m"
    mount.mkdir()
    with disk.open("wb") as file:
        file.truncate(24 << 20)
    assert run(["mkfs.ext4", "-q", "-F", str(disk)]).code == 0
    mounted = run(["mount", "-o", "loop", str(disk), str(mount)])
    if mounted.code != 0:
        mounted = run(["mount", "-t", "tmpfs", "-o", "size=24m", "full", str(mount)])
    assert mounted.code == 0, mounted.err
    config = tmp_path / "imaged.toml"
    config.write_text(f'root = "{mount}/root"\nrun = "{tmp_path}/run"\n')
    log = (tmp_path / "log").open("wb")
    python = str(ROOT / ".venv" / "bin" / "python")
    daemon = subprocess.Popen(
        [python, "-m", "services.imaged", "--config", str(config)], stdout=log, stderr=log, cwd=ROOT
    )
    try:
        host = {"BEEYARD_HOST": f"unix://{tmp_path}/run", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        ctl = str(ROOT / ".venv" / "bin" / "swarmctl")
        wait_until("imaged serves", (tmp_path / "run" / "imaged.sock").exists)
        big = tmp_path / "big.tar"
        info = tarfile.TarInfo("big")
        info.size = 40 << 20
        with tarfile.open(big, "w") as archive:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        result = run([ctl, "image", "import", str(big), "big:1"], env=host)
        assert result.code != 0
        assert re.search("(?i)no space|disk is full|disk full", result.err), result.err
        assert not run([ctl, "images", "-q"], env=host).out
        small = tmp_path / "small.tar"
        _tar(small, _member("file"))
        assert run([ctl, "image", "import", str(small), "small:1"], env=host).code == 0, (
            "the space is free again"
        )
    finally:
        daemon.terminate()
        daemon.wait(30)
        log.close()
        assert run(["umount", str(mount)]).code == 0


def test_a_second_daemon_on_the_same_root_is_refused(pair: Lab) -> None:
    node = pair.nodes()["manager-1"]
    for daemon in ("imaged", "containerd", "netd", "swarmd"):
        config = f"{node['root']}/etc/{daemon}.toml"
        second = run(
            [
                *("nsenter", f"--net=/run/netns/{node['netns']}", "--"),
                *(str(ROOT / ".venv" / "bin" / "python"), "-m", f"services.{daemon}", "--config", config),
            ]
        )
        assert second.code == 1, second
        assert re.search("(?i)already|in use|lock", second.err), second.err
    assert pair.ctl("manager-1", "ps", "-q") == ""


def test_exit_codes_and_memory_limits_of_run(pair: Lab) -> None:
    result = pair.try_ctl(
        "manager-1", "run", "--rm", "-m", "64m", "web:1", "sh", "-c", "echo out; echo err >&2; exit 7"
    )
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    hog = pair.try_ctl(
        "manager-1",
        "run",
        "--name",
        "hog",
        "-m",
        "16m",
        "web:1",
        "sh",
        "-c",
        "x=x; while true; do x=$x$x; done",
    )
    assert hog.code == 137
    state = json.loads(pair.ctl("manager-1", "inspect", "hog"))[0]["State"]
    assert state["OOMKilled"] is True
    pair.ctl("manager-1", "rm", "hog")
    assert pair.try_ctl("manager-1", "run", "--rm", "web:1", "no-such-program").code == 127
    assert pair.try_ctl("manager-1", "run", "--rm", "web:1", "/etc/passwd").code == 126
    assert pair.try_ctl("manager-1", "run", "--rm", "--pull", "never", "nope:1", "true").code == 125
    assert pair.ctl("manager-1", "ps", "-aq") == ""
