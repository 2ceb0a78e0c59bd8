"""The configuration that an image made of a container gets."""

from __future__ import annotations

from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import (
    ContainerSpec,
    Healthcheck,
    Mount,
    MountKind,
    Network,
    PortBinding,
)
from services.containerd.neighbours.committed import configuration

IMAGE = ImageConfig(
    entrypoint=("/entry",),
    command=("serve",),
    env=("A=1", "B=2"),
    user="web",
    workdir="/srv",
    labels={"from": "image"},
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    stop_signal="SIGQUIT",
    health=Healthcheck(test=("CMD", "true"), interval_s=3.0),
)


def test_an_image_of_a_container_starts_what_the_container_was_started_with() -> None:
    spec = ContainerSpec(
        image="web:1",
        command=("sh", "-c", "true"),
        env=("B=3", "C=4"),
        workdir="/tmp",
        labels={"mine": "x"},
        network=Network(ports=(PortBinding(container_port=90, container_port_end=91),)),
        mounts=(
            Mount(kind=MountKind.VOLUME, target="/anonymous"),
            Mount(kind=MountKind.VOLUME, target="/named", source="named"),
        ),
        health=Healthcheck(test=("NONE",)),
    )
    made = configuration(spec, IMAGE)
    assert (list(made.entrypoint), list(made.cmd)) == (["/entry"], ["sh", "-c", "true"])
    assert list(made.env) == ["A=1", "B=3", "C=4"]
    assert (made.user, made.working_dir, made.stop_signal) == ("web", "/tmp", "SIGQUIT")
    assert dict(made.labels) == {"from": "image", "mine": "x"}
    assert list(made.exposed_ports) == ["80/tcp", "90/tcp", "91/tcp"]
    assert list(made.volumes) == ["/data", "/anonymous"]
    assert list(made.healthcheck.test) == ["NONE"]


def test_an_image_of_a_container_that_changed_nothing_is_as_its_image() -> None:
    made = configuration(ContainerSpec(image="web:1"), IMAGE)
    assert (list(made.entrypoint), list(made.cmd), list(made.env)) == (["/entry"], ["serve"], ["A=1", "B=2"])
    assert (list(made.healthcheck.test), made.healthcheck.interval_ms) == (["CMD", "true"], 3000)
    replaced = configuration(ContainerSpec(image="web:1", entrypoint=()), IMAGE)
    assert (list(replaced.entrypoint), list(replaced.cmd)) == ([], [])
