"""What people and scripts see of each object."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import control_pb2
from beeyard.swarm.v1 import objects_pb2 as swarm
from beeyard.system.v1 import system_pb2
from cli.format import output, values
from cli.views import (
    container,
    container_inspect,
    disk_usage,
    event,
    image,
    network,
    node,
    ports,
    service,
    stored,
    system,
    task,
)
from tests.unit.cli.views import golden, samples


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times in UTC."""
    import time

    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


INSPECTIONS: dict[str, Callable[[], Any]] = {
    "container.json": lambda: container_inspect.inspect(samples.container(), size=True),
    "container_bare.json": lambda: container_inspect.inspect(
        pb.Container(id=samples.ID, name="x"), size=False
    ),
    "image.json": lambda: image.inspect(samples.image()),
    "network.json": lambda: network.inspect(samples.network()),
    "node.json": lambda: node.inspect(samples.node()),
    "node.txt": lambda: node.pretty(samples.node()) + "\n",
    "service.json": lambda: service.inspect(samples.service()),
    "service.txt": lambda: service.pretty(samples.service()) + "\n",
    "task.json": lambda: task.inspect(samples.task(1, swarm.TASK_STATE_RUNNING, 60)),
}


@pytest.mark.parametrize("name", INSPECTIONS)
def test_inspections(name: str) -> None:
    golden.check(name, INSPECTIONS[name]())


def table(rows: list[dict[str, Any]], default: str, headers: Any, style: str = "") -> str:
    """Return what a list prints."""
    written, sys.stdout = io.StringIO(), io.StringIO()
    written = sys.stdout
    try:
        output.print_rows(rows, style=style, default=default, headers=headers)
    finally:
        sys.stdout = sys.__stdout__
    return written.getvalue()


def container_rows(*, full: bool = False) -> list[dict[str, Any]]:
    stopped = pb.Container(
        id="9" * 64,
        name="old",
        created_at=samples.before(90000),
        image_id="sha256:" + "9" * 64,
        argv=["true"],
        spec=spec_pb2.ContainerSpec(image="9" * 12),
        status=pb.ContainerStatus(
            state=pb.CONTAINER_STATE_EXITED, exit_code=137, finished_at=samples.before(300)
        ),
    )
    return [container.row(found, samples.NOW, full=full) for found in (samples.container(), stopped)]


TABLES: dict[str, Callable[[], str]] = {
    "ps.txt": lambda: table(container_rows(), container.DEFAULT, container.HEADERS),
    "ps_full.txt": lambda: table(container_rows(full=True), container.WITH_SIZE, container.HEADERS),
    "ps_fields.json": lambda: table(container_rows(), "", {}, "json"),
    "images.txt": lambda: table(
        list(image.rows(samples.image(), samples.NOW, digests=True, full=False)),
        image.WITH_DIGESTS,
        image.HEADERS,
    ),
    "network_ls.txt": lambda: table(
        [network.row(samples.network(), full=False)], network.DEFAULT, network.HEADERS
    ),
    "node_ls.txt": lambda: table([node.row(samples.node(), "n" * 25)], node.DEFAULT, node.HEADERS),
    "service_ls.txt": lambda: table([service.row(samples.service())], service.DEFAULT, service.HEADERS),
    "service_ps.txt": lambda: table(
        task.rows(
            [
                samples.task(1, swarm.TASK_STATE_RUNNING, 60),
                samples.task(
                    1, swarm.TASK_STATE_FAILED, 600, "task: non-zero exit (1), and a long explanation"
                ),
                samples.task(2, swarm.TASK_STATE_PENDING, 5),
            ],
            {"n" * 25: samples.node()},
            now=samples.NOW,
            full=False,
            resolve=True,
            indent=True,
        ),
        task.DEFAULT,
        task.HEADERS,
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str) -> None:
    golden.check(name, TABLES[name]())


@pytest.mark.parametrize(
    ("state", "health", "expected"),
    [
        (pb.CONTAINER_STATE_CREATED, 0, "Created"),
        (pb.CONTAINER_STATE_RUNNING, 0, "Up 2 hours"),
        (pb.CONTAINER_STATE_RUNNING, pb.HEALTH_STATE_STARTING, "Up 2 hours (health: starting)"),
        (pb.CONTAINER_STATE_RUNNING, pb.HEALTH_STATE_UNHEALTHY, "Up 2 hours (unhealthy)"),
        (pb.CONTAINER_STATE_PAUSED, 0, "Up 2 hours (Paused)"),
        (pb.CONTAINER_STATE_RESTARTING, 0, "Restarting (3) 5 minutes ago"),
        (pb.CONTAINER_STATE_REMOVING, 0, "Removal In Progress"),
        (pb.CONTAINER_STATE_EXITED, 0, "Exited (3) 5 minutes ago"),
        (pb.CONTAINER_STATE_DEAD, 0, "Dead"),
        (pb.CONTAINER_STATE_UNSPECIFIED, 0, "Unknown"),
    ],
)
def test_the_status_of_a_container(state: Any, health: Any, expected: str) -> None:
    found = pb.Container(
        status=pb.ContainerStatus(
            state=state,
            exit_code=3,
            started_at=samples.before(7100),
            finished_at=samples.before(300),
            health=pb.Health(state=health),
        )
    )
    assert container.status(found, samples.NOW) == expected


@pytest.mark.parametrize(
    ("given", "short"),
    [
        ("web", "web"),
        ("docker.io/library/web:1@sha256:" + "a" * 64, "web:1"),
        ("index.docker.io/team/web", "team/web"),
        ("registry.example/library/web:1", "registry.example/library/web:1"),
    ],
)
def test_the_image_of_a_container(given: str, short: str) -> None:
    found = pb.Container(spec=spec_pb2.ContainerSpec(image=given))
    assert container.image(found, full=False) == short
    assert container.image(found, full=True) == given


def binding(
    host: int, inside: int, count: int = 1, protocol: str = "tcp", ip: str = ""
) -> spec_pb2.PortBinding:
    return spec_pb2.PortBinding(
        host_ip=ip,
        host_port=host,
        host_port_end=host + count - 1 if count > 1 else 0,
        container_port=inside,
        container_port_end=inside + count - 1 if count > 1 else 0,
        protocol=protocol,
    )


@pytest.mark.parametrize(
    ("bindings", "exposed", "expected"),
    [
        ([], [], ""),
        ([], ["9000/udp", "80/tcp"], "80/tcp, 9000/udp"),
        ([binding(8080, 80)], ["80/tcp", "443/tcp"], "443/tcp, 0.0.0.0:8080->80/tcp"),
        ([binding(8000, 80), binding(8001, 81), binding(8002, 82)], [], "0.0.0.0:8000-8002->80-82/tcp"),
        ([binding(8000, 80, 3), binding(9000, 80, protocol="udp")], ["81/tcp"],
         "0.0.0.0:8000-8002->80-82/tcp, 0.0.0.0:9000->80/udp"),
        ([binding(8000, 80), binding(8005, 81)], [], "0.0.0.0:8000->80/tcp, 0.0.0.0:8005->81/tcp"),
        ([binding(1, 1, ip="::1"), binding(1, 1, ip="127.0.0.1")], [], "127.0.0.1:1->1/tcp, [::1]:1->1/tcp"),
    ],
)  # fmt: skip
def test_the_ports_column(bindings: list[spec_pb2.PortBinding], exposed: list[str], expected: str) -> None:
    assert ports.listed(bindings, exposed) == expected


def test_each_port_by_itself() -> None:
    assert ports.each([binding(8000, 80, 2), binding(53, 53, protocol="udp", ip="::")]) == [
        ("53/udp", "::", 53),
        ("80/tcp", "0.0.0.0", 8000),
        ("81/tcp", "0.0.0.0", 8001),
    ]
    assert ports.port_map([binding(8000, 80)], ["80/tcp", "9/tcp"]) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}],
        "9/tcp": None,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", ("web", "", "")),
        ("web:1", ("web", "1", "")),
        ("host:5000/web", ("host:5000/web", "", "")),
        ("host:5000/web:1@sha256:ab", ("host:5000/web", "1", "sha256:ab")),
    ],
)
def test_names_of_images(name: str, expected: tuple[str, str, str]) -> None:
    assert image.split_name(name) == expected


def test_an_image_without_a_name_and_a_history_without_ids() -> None:
    found = samples.image()
    del found.repo_tags[:]
    del found.repo_digests[:]
    row = next(image.rows(found, samples.NOW, digests=False, full=False))
    assert (row["Repository"], row["Tag"], row["Digest"]) == ("<none>", "<none>", "<none>")
    entry = image.history_row(
        image_entry(created_by="RUN\tmake " + "x" * 60), samples.NOW, full=False, human=True
    )
    assert entry["ID"] == "<missing>" and entry["CreatedBy"].startswith("RUN make ")
    assert len(entry["CreatedBy"]) == image.CREATED_BY_WIDTH


def image_entry(**fields: Any) -> Any:
    from beeyard.image.v1 import image_pb2

    return image_pb2.HistoryEntry(created_at=samples.before(60), size_bytes=5, **fields)


def test_an_event_for_people_and_for_programs() -> None:
    happened = pb.Event(
        time=samples.before(0),
        type="container",
        action="die",
        id=samples.ID,
        attributes={"name": "web", "exitCode": "1", "image": "img"},
    )
    assert event.line(happened) == (
        f"2026-01-02T12:00:00.000000000+00:00 container die {samples.ID} (exitCode=1, image=img, name=web)"
    )
    message = event.message(happened)
    assert message["Actor"] == {
        "ID": samples.ID,
        "Attributes": {"exitCode": "1", "image": "img", "name": "web"},
    }
    assert message["timeNano"] == message["time"] * 1_000_000_000


def test_secrets_and_configs() -> None:
    meta = swarm.Meta(version=3, created_at=samples.before(60), updated_at=samples.before(30))
    annotations = swarm.Annotations(name="key", labels={"a": "1"})
    secret = swarm.Secret(id="x" * 25, meta=meta, spec=swarm.SecretSpec(annotations=annotations))
    config = swarm.Config(
        id="y" * 25, meta=meta, spec=swarm.ConfigSpec(annotations=annotations, data=b"content")
    )
    assert stored.row(secret, samples.NOW)["CreatedAt"] == "About a minute ago"
    assert "Data" not in stored.inspect(secret)["Spec"]
    assert stored.inspect(config)["Spec"]["Data"] == "Y29udGVudA=="
    assert stored.pretty(config).endswith("Data:\ncontent")
    assert " - a=1" in stored.pretty(secret)


def test_versions_information_and_disk_usage() -> None:
    version = system_pb2.GetVersionResponse(
        daemon="containerd", version="0.1.0", apis=["a", "b"], python_version="3.11", kernel_version="6",
        os="linux", arch="amd64", components={"crun": "1.8"},
    )  # fmt: skip
    client = {
        "Version": "0.1.0",
        "PythonVersion": "3.11",
        "Os": "linux",
        "Arch": "amd64",
        "Context": "default",
    }
    golden.check("version.txt", system.versions(client, [system.component(version)]) + "\n")
    info = system_pb2.GetInfoResponse(
        daemon="imaged", hostname="box", operating_system="Debian", cpus=2, memory_bytes=1 << 31, state_dir="/s",
        facts=[system_pb2.InfoFact(key="DRIVER", label="Storage Driver", value="overlay")],
    )  # fmt: skip
    place = system.swarm(
        control_pb2.GetLocalStateResponse(
            state=control_pb2.LOCAL_SWARM_STATE_ACTIVE,
            node_id="n",
            node_address="10.0.0.1:2377",
            role=swarm.NODE_ROLE_MANAGER,
            cluster_id="c",
            managers=[control_pb2.ManagerPeer(node_id="n", address="10.0.0.1:2377")],
        )
    )
    golden.check("info.txt", system.information(client, [info], place) + "\n")
    engine = system_pb2.GetInfoResponse(
        daemon="containerd", hostname="box", cpus=2, state_dir="/var/lib/beeyard/containerd",
        facts=[
            system_pb2.InfoFact(key=key, value=value)
            for key, value in (
                ("CONTAINERS_RUNNING", "7"), ("SECURITY", "seccomp, apparmor"), ("RUNTIMES", "crun runc"),
            )
        ],
    )  # fmt: skip
    host = system.host([engine, info], version)
    assert (host["ServerVersion"], host["KernelVersion"], host["ContainersRunning"]) == ("0.1.0", "6", 7)
    assert host["SecurityOptions"] == ["name=seccomp", "name=apparmor"]
    assert (list(host["Runtimes"]), host["DockerRootDir"]) == (["crun", "runc"], "/var/lib/beeyard")
    assert "Images" not in host  # nobody said how many
    assert system.host([], None) == {}
    assert system.swarm(control_pb2.GetLocalStateResponse())["LocalNodeState"] == "inactive"
    usage = system_pb2.DiskUsage(
        kind="images", total_count=3, active_count=1, size_bytes=1000, reclaimable_bytes=400
    )
    assert disk_usage.row(usage) == {
        "Type": "Images", "TotalCount": "3", "Active": "1", "Size": "1kB", "Reclaimable": "400B (40%)",
    }  # fmt: skip
    assert disk_usage.row(system_pb2.DiskUsage(kind="build-cache"))["Reclaimable"] == "0B"


def test_every_view_is_json() -> None:
    for shown in INSPECTIONS.values():
        if not isinstance(value := shown(), str):
            assert json.loads(json.dumps(values.plain(value))) == values.plain(value)
