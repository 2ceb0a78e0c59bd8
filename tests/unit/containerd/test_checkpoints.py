"""Checkpoints: one whose processes are gone is not thrown away; what a restore needs; what CRIU says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.containerd.checkpoint import program, restoring
from services.containerd.checkpoint.making import Checkpointer
from services.containerd.checkpoint.words import criu_reason
from services.containerd.model.status import EndpointStatus, NetworkStatus, Record, Status
from services.containerd.runtime.flavour import Flavour, Kind
from services.containerd.runtime.layout import Layout
from services.kit import errors
from services.kit.system import SystemClock


@pytest.mark.parametrize("leave_running", [False, True])
async def test_images_are_kept_when_their_name_cannot_be_given(tmp_path: Path, leave_running: bool) -> None:
    layout = Layout(state=tmp_path / "s", run=tmp_path / "r")
    layout.make()
    clock = SystemClock()
    record = Record(id="a" * 64, name="web", created_at=clock.now(), status=Status(runtime="runc"))
    layout.bundle(record.id).path.mkdir()
    place = tmp_path / "one"
    partial = tmp_path / ".one.partial"

    async def run(_command: list[str], *, timeout_s: float) -> tuple[int, str]:
        assert timeout_s
        assert (partial / "beeyard.json").exists(), "what needs room is written before the processes end"
        (partial / "pages-1.img").write_bytes(b"state")
        place.mkdir()
        (place / "in the way").touch()
        return 0, ""

    machine = SimpleNamespace(
        boot_id="boot",
        layout=layout,
        flavours={"runc": Flavour(name="runc", path="/usr/sbin/runc", kind=Kind.RUNC)},
        spawners={False: SimpleNamespace(run=run)},
    )
    with pytest.raises(errors.Internal) as failed:
        await Checkpointer(cast("Any", machine), clock).make(record, str(place), leave_running=leave_running)
    assert failed.value.reason == "CHECKPOINT_INCOMPLETE"
    assert (partial / "pages-1.img").exists() is not leave_running
    assert ("kept as" in failed.value.message) is not leave_running


def config(*namespaces: str) -> dict[str, Any]:
    return {
        "annotations": {"a": "b"},
        "linux": {"namespaces": [{"type": name} for name in namespaces]},
        "mounts": [
            {"type": "proc", "destination": "/proc", "source": "proc", "options": []},
            {"type": "cgroup", "destination": "/sys/fs/cgroup", "source": "cgroup", "options": ["ro"]},
        ],
    }


def test_a_restored_container_sees_its_own_control_groups() -> None:
    groups = [Path("/sys/fs/cgroup/memory/beeyard/ID"), Path("/sys/fs/cgroup/cpu,cpuacct/beeyard/ID")]
    start = config("pid", "mount")
    adapted = cast("Any", restoring.adapt(start, groups, options=None))
    proc, cover, *binds = adapted["mounts"]
    assert proc == start["mounts"][0]
    assert (cover["type"], cover["destination"]) == ("tmpfs", "/sys"), "runc makes no directories below that"
    assert [(bind["destination"], bind["source"]) for bind in binds] == [
        ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/beeyard/ID"),
        ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/beeyard/ID"),
    ]
    assert all({"ro", "bind"} <= set(bind["options"]) for bind in binds)
    assert start == config("pid", "mount")
    private = config("pid", "mount", "cgroup")
    assert restoring.adapt(private, groups, options=None) == private
    assert restoring.adapt(start, [], options=None) == start, "a host with the unified hierarchy alone"


def test_more_options_for_criu_are_named_in_an_annotation() -> None:
    adapted = restoring.adapt(config(), [], options=Path("/run/criu.conf"))
    assert adapted["annotations"] == {"a": "b", "org.criu.config": "/run/criu.conf"}


def test_connections_go_on_where_the_addresses_are_the_same() -> None:
    now = NetworkStatus(endpoints=(EndpointStatus(network="web", ip="10.0.0.2"),))
    assert restoring.keeps_connections({"web": "10.0.0.2"}, now)
    assert not restoring.keeps_connections({"web": "10.0.0.3"}, now)
    assert not restoring.keeps_connections({}, now)
    assert restoring.keeps_connections({}, NetworkStatus()), "it has no network"


def test_the_runtimes_find_the_criu_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    programs = tmp_path / "bin"
    for path in ("/usr/local/criu-1", "/usr/local/criu-2"):
        program.offer(programs, path)
        assert (programs / "criu").readlink() == Path(path)
    assert program.environment(programs)["PATH"] == f"{programs}:/usr/bin"


def test_the_reason_is_what_criu_failed_of() -> None:
    log = """(00.05) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.07) 1: Error (criu/namespaces.c:258): Can't setns 16/net: Operation not permitted
(00.08) Error (criu/cr-restore.c:2324): Restoring FAILED.
"""
    assert criu_reason(log) == "Can't setns 16/net: Operation not permitted"
