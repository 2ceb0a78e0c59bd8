"""What a service's spec may say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.api.checks import image, names, ports, service
from services.swarmd.api.checks.files import CONFIG_BYTES_MAX, SECRET_BYTES_MAX, check_file
from tests.unit.swarmd.api.messages import messages, refusal_of

HOST = objects_pb2.PUBLISH_MODE_HOST


def spec() -> objects_pb2.ServiceSpec:
    """A spec that uses much and is right."""
    return objects_pb2.ServiceSpec(
        annotations=objects_pb2.Annotations(name="web", labels={"team": "a"}),
        task=objects_pb2.TaskSpec(
            container=spec_pb2.ContainerSpec(
                image="registry.example:5000/team/web:1",
                cmd=["serve", "--port", "80"],
                env=["A=1", "B"],
                working_dir="/srv",
                stop_signal="SIGQUIT",
                stop_grace_ms=2000,
                health=spec_pb2.HealthCheck(test=["CMD", "true"], interval_ms=500),
                resources=spec_pb2.Resources(memory_bytes=64 << 20, nano_cpus=500_000_000, pids_limit=-1),
                network=spec_pb2.Network(hostname="web"),
                mounts=[
                    spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_VOLUME, source="data", target="/data"),
                    spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source="/etc/ssl", target="/etc/ssl"),
                    spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target="/tmp"),
                ],
            ),
            reservations=objects_pb2.NodeResources(memory_bytes=32 << 20, generic={"gpu": 1}),
            placement=objects_pb2.Placement(
                constraints=["node.role==worker", "node.labels.zone != east"],
                spread_over=["node.labels.rack"],
                platforms=["linux/amd64"],
            ),
            secrets=[objects_pb2.FileReference(name="key", target="key.pem", uid="0", mode=0o400)],
            configs=[objects_pb2.FileReference(name="conf", target="/etc/web.conf")],
        ),
        mode=objects_pb2.ServiceMode(replicated=objects_pb2.ReplicatedMode(replicas=5)),
        update=objects_pb2.UpdateConfig(parallelism=2, max_failure_ratio=0.5),
        endpoint=objects_pb2.EndpointSpec(
            ports=[
                objects_pb2.PublishedPort(target_port=80, published_port=8080),
                objects_pb2.PublishedPort(target_port=80, published_port=8081, mode=HOST),
                objects_pb2.PublishedPort(target_port=53, published_port=8080, protocol="udp"),
            ]
        ),
    )


def test_a_right_spec_is_accepted() -> None:
    service.check_spec(spec())


Change = Callable[[objects_pb2.ServiceSpec], object]


def put(path: str, value: object) -> Change:
    """Return a change that sets, appends to or extends one field."""

    def change(given_spec: objects_pb2.ServiceSpec) -> None:
        *parents, name = path.split(".")
        target: object = given_spec
        for parent in parents:
            target = getattr(target, parent)
        field = getattr(target, name)
        if isinstance(value, dict):
            field.update(value)
        elif hasattr(field, "append"):
            field.append(value)
        elif hasattr(value, "DESCRIPTOR"):
            field.CopyFrom(value)
        else:
            setattr(target, name, value)

    return change


def port(**fields: object) -> Change:
    return put("endpoint.ports", objects_pb2.PublishedPort(**fields))  # type: ignore[arg-type]


def mount(**fields: object) -> Change:
    return put("task.container.mounts", spec_pb2.Mount(**fields))  # type: ignore[arg-type]


VOLUME, BIND, TMPFS = spec_pb2.MOUNT_TYPE_VOLUME, spec_pb2.MOUNT_TYPE_BIND, spec_pb2.MOUNT_TYPE_TMPFS
BAD: dict[str, tuple[Change, str]] = {
    "no-name": (put("annotations.name", ""), "annotations.name: a name must be given"),
    "name-of-64": (put("annotations.name", "a" * 64), "63 characters or fewer"),
    "name-with-dot": (put("annotations.name", "a.b"), "DNS name component"),
    "name-ends-in-dash": (put("annotations.name", "a-"), "DNS name component"),
    "label-without-name": (put("annotations.labels", {"": "x"}), "a label has no name"),
    "negative-replicas": (put("mode.replicated.replicas", 2**64 - 1), "was a negative number meant"),
    "no-image": (put("task.container.image", ""), "an image must be given"),
    "image-upper-case": (put("task.container.image", "Web"), "lower case"),
    "image-nonsense": (put("task.container.image", "web:"), "not a valid repository/tag"),
    "image-short-digest": (put("task.container.image", "web@sha256:12"), "not a valid repository/tag"),
    "cpu-limit": (put("task.container.resources.nano_cpus", 999_999), "must be at least 0.001"),
    "negative-cpu": (put("task.container.resources.nano_cpus", -1), "must be at least 0.001"),
    "memory-limit": (put("task.container.resources.memory_bytes", 4 << 10), "must be at least 4 MiB"),
    "negative-memory": (put("task.reservations.memory_bytes", -5), "must be at least 4 MiB"),
    "cpu-reservation": (put("task.reservations.nano_cpus", 10), "must be at least 0.001"),
    "no-gpu": (put("task.reservations.generic", {"gpu": 0}), "0 of gpu"),
    "pids": (put("task.container.resources.pids_limit", -2), "-1 is without limit"),
    "swap-alone": (put("task.container.resources.memory_swap_bytes", 1 << 20), "less than the memory"),
    "ulimit": (
        put("task.container.resources.ulimits", spec_pb2.Ulimit(name="nofile", soft=9, hard=8)),
        "above the hard limit",
    ),
    "nul-in-command": (put("task.container.cmd", "a\0b"), "NUL"),
    "env-without-name": (put("task.container.env", "=1"), "has no name"),
    "relative-workdir": (put("task.container.working_dir", "srv"), "not an absolute path"),
    "signal": (put("task.container.stop_signal", "SIG KILL"), "not a signal"),
    "endless-grace": (put("task.container.stop_grace_ms", -1), "between nothing and a day"),
    "hostname": (put("task.container.network.hostname", "a b"), "not a host name"),
    "own-name": (put("task.container.name", "x"), "named by their service"),
    "own-restart": (
        put(
            "task.container.restart",
            spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS),
        ),
        "restarted by the swarm",
    ),
    "joined-network": (put("task.container.network.mode", "container:x"), "network of another container"),
    "joined-pid": (put("task.container.security.pid", "container:x"), "namespace of another"),
    "links": (put("task.container.network.links", "db"), "names of their services"),
    "container-ports": (
        put("task.container.network.ports", spec_pb2.PortBinding(container_port=80)),
        "published by its endpoint",
    ),
    "health": (put("task.container.health", spec_pb2.HealthCheck(test=["true"])), "not one of NONE, CMD"),
    "health-without-command": (
        put("task.container.health", spec_pb2.HealthCheck(test=["CMD-SHELL"])),
        "command of the check is missing",
    ),
    "mount-without-type": (mount(target="/x"), "no type of mount"),
    "mount-twice": (mount(type=VOLUME, source="a", target="/data/"), "duplicate mount point"),
    "mount-relative": (mount(type=VOLUME, source="a", target="x"), "not an absolute path"),
    "mount-root": (mount(type=VOLUME, source="a", target="/x/.."), "cannot be mounted over"),
    "bind-relative": (mount(type=BIND, source="x", target="/x"), "not an absolute path"),
    "volume-path": (mount(type=VOLUME, source="/x", target="/x"), "not a name of a volume"),
    "tmpfs-source": (mount(type=TMPFS, source="/x", target="/x"), "a tmpfs has no source"),
    "subpath-escape": (
        mount(type=VOLUME, source="a", target="/x", volume_subpath="a/../../b"),
        "without ..",
    ),
    "secret-nameless": (put("task.secrets", objects_pb2.FileReference()), "neither an id nor a name"),
    "secret-escape": (
        put("task.secrets", objects_pb2.FileReference(name="x", target="../x")),
        "not the path of a file",
    ),
    "secret-twice": (
        put("task.secrets", objects_pb2.FileReference(name="x", target="/run/secrets/key.pem")),
        "two secrets or configs",
    ),
    "secret-uid": (put("task.secrets", objects_pb2.FileReference(name="x", uid="root")), "not a number"),
    "secret-mode": (put("task.secrets", objects_pb2.FileReference(name="x", mode=2**20)), "permission bits"),
    "constraint": (put("task.placement.constraints", "node.role=worker"), "'node.role=worker'"),
    "spread": (put("task.placement.spread_over", "node.id"), "node.labels"),
    "platform": (put("task.placement.platforms", "a b"), "platform"),
    "node-network": (
        put("task.networks", objects_pb2.NetworkAttachment(target="host")),
        "network of each node",
    ),
    "ratio": (put("update.max_failure_ratio", 1.5), "not in 0-1"),
    "ratio-nan": (put("update.max_failure_ratio", float("nan")), "not in 0-1"),
    "delay": (put("update.delay_ms", 2**64 - 1), "more than ten years"),
    "unknown-order": (put("update.order", 9), "means nothing"),
    "restart-delay": (put("task.restart.delay_ms", 2**63), "more than ten years"),
    "pull-policy": (put("task.pull_policy", "sometimes"), "missing, always, never"),
    "port-0": (port(published_port=90), "not in 1-65535"),
    "port-65536": (port(target_port=80, published_port=65_536), "not in 0-65535"),
    "port-protocol": (port(target_port=80, protocol="icmp"), "tcp, udp, sctp"),
    "port-twice": (port(target_port=81, published_port=8080), "duplicate published port 8080/tcp"),
    "port-twice-in-two-modes": (
        port(target_port=81, published_port=8081),
        "duplicate published port 8081/tcp",
    ),
    "dnsrr-and-ingress": (put("endpoint.mode", objects_pb2.ENDPOINT_MODE_DNSRR), "cannot be used with dnsrr"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_spec_is_refused_with_the_field(case: str) -> None:
    change, expected = BAD[case]
    wrong = spec()
    change(wrong)
    with pytest.raises(errors.Invalid, match=re.escape(expected)) as caught:
        service.check_spec(wrong)
    if case == "constraint":
        assert caught.value.reason == "CONSTRAINT_INVALID"
    else:
        assert caught.value.reason == "SPEC_INVALID"
        assert caught.value.message.startswith(caught.value.metadata["field"])


def test_a_spec_that_is_too_large_is_refused_before_it_is_read() -> None:
    large = spec()
    large.task.container.env.append("A=" + "x" * (3 << 20))
    large.annotations.name = "not valid either"
    with pytest.raises(errors.Exhausted) as caught:
        service.check_spec(large)
    assert caught.value.reason == "SPEC_TOO_LARGE"


def test_jobs_have_no_update() -> None:
    job = spec()
    job.mode.replicated_job.total_completions = 3
    with pytest.raises(errors.Invalid, match="jobs are not updated"):
        service.check_spec(job)


def test_mode_and_name_are_fixed() -> None:
    everywhere = spec()
    getattr(everywhere.mode, "global").SetInParent()
    with pytest.raises(errors.Invalid) as caught:
        service.check_change(spec(), everywhere)
    assert caught.value.reason == "MODE_CHANGE"
    renamed = spec()
    renamed.annotations.name = "other"
    with pytest.raises(errors.Invalid, match="cannot be renamed"):
        service.check_change(spec(), renamed)


def published(name: str, *taken: objects_pb2.PublishedPort) -> objects_pb2.Service:
    return objects_pb2.Service(
        id=f"id-{name}",
        spec=objects_pb2.ServiceSpec(
            annotations=objects_pb2.Annotations(name=name), endpoint=objects_pb2.EndpointSpec(ports=taken)
        ),
    )


INGRESS_8080 = objects_pb2.PublishedPort(target_port=80, published_port=8080)
HOST_8080 = objects_pb2.PublishedPort(target_port=80, published_port=8080, mode=HOST)
UDP_8080 = objects_pb2.PublishedPort(target_port=80, published_port=8080, protocol="udp")


@pytest.mark.parametrize(
    ("wanted", "taken", "message"),
    [
        (
            INGRESS_8080,
            INGRESS_8080,
            "port '8080' is already in use by service 'web' (id-web) as an ingress port",
        ),
        (
            HOST_8080,
            INGRESS_8080,
            "port '8080' is already in use by service 'web' (id-web) as an ingress port",
        ),
        (
            INGRESS_8080,
            HOST_8080,
            "port '8080' is already in use by service 'web' (id-web) as a host-published port",
        ),
        (HOST_8080, HOST_8080, ""),
        (UDP_8080, INGRESS_8080, ""),
    ],
)
def test_a_port_has_one_owner(
    wanted: objects_pb2.PublishedPort, taken: objects_pb2.PublishedPort, message: str
) -> None:
    other = published("web", taken)
    if not message:
        ports.check_free([wanted], "new", [other])
        return
    with pytest.raises(errors.AlreadyExists) as caught:
        ports.check_free([wanted], "new", [other])
    assert (caught.value.message, caught.value.reason) == (message, "PORT_IN_USE")
    ports.check_free([wanted], other.id, [other])  # it may keep its own


def test_a_port_that_was_picked_is_taken_too() -> None:
    other = published("web", objects_pb2.PublishedPort(target_port=80))
    other.endpoint.ports.add(target_port=80, published_port=30_000)
    with pytest.raises(errors.AlreadyExists):
        ports.check_free([objects_pb2.PublishedPort(target_port=1, published_port=30_000)], "new", [other])


def test_sizes_of_secrets_and_configs() -> None:
    annotations = objects_pb2.Annotations(name="key")
    check_file(
        "secret",
        objects_pb2.SecretSpec(annotations=annotations, data=b"x"),
        SECRET_BYTES_MAX,
        size_bytes_min=1,
    )
    with pytest.raises(errors.Invalid, match="at least 1 byte"):
        check_file(
            "secret", objects_pb2.SecretSpec(annotations=annotations), SECRET_BYTES_MAX, size_bytes_min=1
        )
    large = objects_pb2.ConfigSpec(annotations=annotations, data=b"x" * (CONFIG_BYTES_MAX + 1))
    with pytest.raises(errors.Exhausted):
        check_file("config", large, CONFIG_BYTES_MAX, size_bytes_min=0)
    templated = objects_pb2.ConfigSpec(annotations=annotations, template_driver="golang")
    with pytest.raises(errors.Unsupported):
        check_file("config", templated, CONFIG_BYTES_MAX, size_bytes_min=0)


UNHURRIED = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@UNHURRIED
@given(messages(objects_pb2.ServiceSpec))
def test_any_spec_is_accepted_or_refused(any_spec: objects_pb2.ServiceSpec) -> None:
    refusal = refusal_of(service.check_spec, any_spec)
    assert refusal is None or refusal.reason in {"SPEC_INVALID", "CONSTRAINT_INVALID", "SPEC_TOO_LARGE"}


@UNHURRIED
@given(messages(objects_pb2.TaskSpec), messages(objects_pb2.EndpointSpec))
def test_any_part_in_a_right_spec_is_accepted_or_refused(
    task: objects_pb2.TaskSpec, endpoint: objects_pb2.EndpointSpec
) -> None:
    merged = spec()
    merged.task.MergeFrom(task)
    merged.endpoint.MergeFrom(endpoint)
    refusal = refusal_of(service.check_spec, merged)
    assert refusal is None or refusal.message


@given(st.text(max_size=80))
@example("a" * 63 + ":" + "b" * 128)
@example("-" * 600)
@example("a." * 300)
def test_any_reference_is_accepted_or_refused(text: str) -> None:
    if refusal_of(image.check_reference, "image", text) is not None:
        return
    assert image.is_exact(text) or image.is_exact(image.pinned(text, "sha256:" + "0" * 64))


@pytest.mark.parametrize(
    ("reference", "exact"),
    [
        ("web", False),
        ("web:1", False),
        ("localhost:5000/a/b:1", False),
        ("web@sha256:" + "a" * 64, True),
        ("web:1@sha256:" + "a" * 64, True),
        ("sha256:" + "b" * 64, True),
        ("c" * 64, True),
    ],
)
def test_references_that_name_one_image_for_ever(reference: str, exact: bool) -> None:
    image.check_reference("image", reference)
    assert image.is_exact(reference) is exact


@given(st.text(max_size=70))
def test_any_name_is_accepted_or_refused(text: str) -> None:
    annotations = objects_pb2.Annotations(name=text.encode("utf-8", "replace").decode())
    for check in (names.check_annotations, names.check_file_annotations):
        refusal = refusal_of(check, "annotations", annotations)
        assert refusal is None or refusal.metadata["field"] == "annotations.name"
