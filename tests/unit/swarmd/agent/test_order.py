"""The container that a task asks for."""

from __future__ import annotations

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2
from services.swarmd.agent.core import order


def task(**more: object) -> objects_pb2.Task:
    made = objects_pb2.Task(
        id="t1",
        service_id="s1",
        node_id="n1",
        slot=3,
        service_annotations=objects_pb2.Annotations(name="web"),
        spec=objects_pb2.TaskSpec(container=spec_pb2.ContainerSpec(image="web:1", labels={"mine": "yes"})),
    )
    made.MergeFrom(objects_pb2.Task(**more))  # type: ignore[arg-type]
    return made


def test_names_follow_the_service_and_the_place() -> None:
    assert order.task_name(task()) == "web.3.t1"
    everywhere = task()
    everywhere.slot = 0
    assert order.task_name(everywhere) == "web.n1.t1"


def test_labels_name_the_task_beside_the_users() -> None:
    made = order.order(task(), {}, {})
    assert made.request_id == "t1"
    assert dict(made.spec.labels) == {
        "mine": "yes",
        "com.docker.swarm.node.id": "n1",
        "com.docker.swarm.service.id": "s1",
        "com.docker.swarm.service.name": "web",
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": "t1",
        "com.docker.swarm.task.name": "web.3.t1",
    }


def test_the_swarm_alone_restarts_and_removes() -> None:
    asked = task()
    asked.spec.container.auto_remove = True
    asked.spec.container.restart.condition = spec_pb2.RESTART_CONDITION_ALWAYS
    made = order.order(asked, {}, {}).spec
    assert not made.auto_remove
    assert not made.HasField("restart")
    assert asked.spec.container.auto_remove, "the task itself is not touched"


def test_ingress_ports_are_shared_and_host_ports_are_not() -> None:
    endpoint = objects_pb2.ServiceEndpoint(
        ports=[
            objects_pb2.PublishedPort(target_port=80, published_port=8080),
            objects_pb2.PublishedPort(
                target_port=53, published_port=5353, protocol="udp", mode=objects_pb2.PUBLISH_MODE_HOST
            ),
        ]
    )
    ingress, host = order.order(task(endpoint=endpoint), {}, {}).spec.network.ports
    assert (ingress.host_port, ingress.container_port, ingress.protocol, ingress.shared) == (
        8080,
        80,
        "tcp",
        True,
    )
    assert (host.host_port, host.container_port, host.protocol, host.shared) == (5353, 53, "udp", False)


def test_secrets_and_configs_become_files() -> None:
    spec = objects_pb2.TaskSpec(
        secrets=[objects_pb2.FileReference(id="k", name="key", uid="5", mode=0o400)],
        configs=[
            objects_pb2.FileReference(id="c", name="app.conf"),
            objects_pb2.FileReference(id="c", name="app.conf", target="/etc/app.conf"),
        ],
    )
    asked = task(spec=spec)
    assert order.missing_files(asked.spec, {}, {"c": b""}) == ("secret key",)
    files = order.order(asked, {"k": b"hush"}, {"c": b"x=1"}).spec.files
    assert [(file.path, file.data, file.uid, file.mode) for file in files] == [
        ("/run/secrets/key", b"hush", 5, 0o400),
        ("/app.conf", b"x=1", 0, 0o444),
        ("/etc/app.conf", b"x=1", 0, 0o444),
    ]


def test_a_network_of_the_swarm_is_refused_with_the_reason() -> None:
    spec = objects_pb2.TaskSpec(networks=[objects_pb2.NetworkAttachment(target="net")])
    assert "overlay" in order.refusal(task(spec=spec))
    assert order.refusal(task()) == ""
