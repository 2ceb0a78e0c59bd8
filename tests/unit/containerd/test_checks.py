"""Specifications and limits that are refused, and filters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.containerd.api import filters
from services.containerd.logs import options as log_options
from services.containerd.logs.options import LogPolicy
from services.containerd.model import check, ports
from services.containerd.model.image import ImageConfig
from services.containerd.model.mounts import MountPoint
from services.containerd.model.spec import (
    ContainerSpec,
    Device,
    Endpoint,
    InlineFile,
    LogConfig,
    Mount,
    MountKind,
    Network,
    PortBinding,
    Resources,
    RestartMode,
    RestartPolicy,
    Security,
    Ulimit,
)
from services.containerd.model.status import Record, State, Status
from services.containerd.neighbours.sandboxes import published, spec_to_pb
from services.containerd.ocispec import devices, resolve, resources, rlimits
from services.containerd.ocispec.facts import HostFacts
from services.kit import errors

GOOD = ContainerSpec(image="web", command=("x",))
HOST = HostFacts(cpus=4)


def bind(target: str, **fields: Any) -> ContainerSpec:
    mount = Mount(kind=MountKind.BIND, source="/data", target=target)
    return replace(GOOD, mounts=(replace(mount, **fields),))


@pytest.mark.parametrize(
    "spec",
    [
        ContainerSpec(),
        replace(GOOD, env=("=x",)),
        replace(GOOD, env=("",)),
        replace(GOOD, command=("a\0b",)),
        replace(GOOD, command=("x" * (2 << 20),)),
        replace(GOOD, workdir="relative"),
        replace(GOOD, auto_remove=True, restart=RestartPolicy(mode=RestartMode.ALWAYS)),
        replace(GOOD, restart=RestartPolicy(mode=RestartMode.ALWAYS, retries_max=3)),
        replace(GOOD, network=Network(hostname="-bad")),
        replace(GOOD, network=Network(hostname="a b")),
        replace(GOOD, network=Network(mode="host", endpoints=(Endpoint(network="n"),))),
        replace(GOOD, network=Network(mode="container:a", ports=(PortBinding(container_port=80),))),
        replace(GOOD, network=Network(mode="container:a", expose=("80",))),
        replace(GOOD, network=Network(mode="container:a", extra_hosts=("db:10.0.0.1",))),
        replace(GOOD, network=Network(mode="container:a", mac="02:42:ac:11:00:02")),
        replace(GOOD, network=Network(ports=(PortBinding(container_port=0),))),
        replace(GOOD, network=Network(ports=(PortBinding(container_port=80, host_port=70_000),))),
        replace(
            GOOD, network=Network(ports=(PortBinding(container_port=80, container_port_end=82, host_port=1),))
        ),
        replace(GOOD, network=Network(ports=(PortBinding(container_port=80, protocol="icmp"),))),
        replace(GOOD, network=Network(extra_hosts=("noaddress",))),
        replace(GOOD, security=Security(masked_paths=("etc",))),
        replace(GOOD, security=Security(read_only_paths=("/a/../../b",))),
        replace(GOOD, security=Security(devices=(Device(host_path="/dev/null", container_path="../x"),))),
        replace(GOOD, security=Security(devices=(Device(host_path=""),))),
        bind("relative"),
        bind("/a/../../etc"),
        bind("/"),
        bind("/proc/sys"),
        bind("/x", source="relative"),
        bind("/x", propagation="odd"),
        replace(GOOD, mounts=bind("/a").mounts + bind("/a/").mounts),
        replace(GOOD, files=(InlineFile(path="/x", data=b"x" * (2 << 20)),)),
        replace(GOOD, files=(InlineFile(path="../x"),)),
        replace(GOOD, files=(InlineFile(path="/x", mode=1 << 31),)),
        replace(GOOD, network=Network(expose=("abc",))),
        replace(GOOD, network=Network(expose=("1-2000000",))),
        replace(GOOD, network=Network(expose=("80/icmp",))),
        replace(GOOD, security=Security(pid="odd")),
        replace(GOOD, security=Security(ipc="odd")),
        replace(GOOD, security=Security(pid="shareable")),
        replace(GOOD, security=Security(uts="odd")),
        replace(GOOD, security=Security(uts="container:")),
        replace(GOOD, security=Security(cgroupns="none")),
        replace(GOOD, security=Security(sysctls={"kernel.core_pattern": "|/x"})),
        replace(GOOD, security=Security(sysctls={"net/../kernel/core_pattern": "x"})),
        replace(GOOD, security=Security(sysctls={"net.ipv4.ip_forward": "1"}), network=Network(mode="host")),
    ],
)
def test_refused(spec: ContainerSpec) -> None:
    with pytest.raises(errors.Invalid) as refused:
        check.check(spec)
    assert refused.value.reason == "SPEC_INVALID"


@pytest.mark.parametrize("name", ["my_host", "_x_", "a", "1.b-c", "h" * 64])
def test_host_names_that_people_give(name: str) -> None:
    check.check(replace(GOOD, network=Network(hostname=name, domainname=name)))


@pytest.mark.parametrize(
    "spec",
    [
        replace(GOOD, security=Security(gpus=("all",))),
    ],
)
def test_not_in_this_version(spec: ContainerSpec) -> None:
    with pytest.raises(errors.Unsupported):
        check.check(spec)


def test_not_more_ports_are_published_than_a_node_can_spare() -> None:
    ports.check_publish_all({"80", "8000-8010/udp"})
    for exposed in ({"1-65535"}, {"80", "abc"}):
        with pytest.raises(errors.Invalid):
            ports.check_publish_all(exposed)


def test_a_record_that_exposes_nonsense_breaks_no_filter() -> None:
    spec = replace(GOOD, network=Network(publish_all=True, expose=("abc", "80")))
    assert [port.container_port for port in published(spec, ImageConfig())] == [80]


def tmpfs(*options: str) -> ContainerSpec:
    return replace(GOOD, mounts=(Mount(kind=MountKind.TMPFS, target="/t", tmpfs_options=options),))


@pytest.mark.parametrize("option", ["foo=1", "foo", "ro=1", "size", "size=big", "mode=9", "uid=root"])
def test_an_option_that_no_tmpfs_takes_is_refused(option: str) -> None:
    with pytest.raises(errors.Invalid, match="tmpfs option"):
        check.check(tmpfs(option))


def test_accepted() -> None:
    check.check(tmpfs("rw", "noexec", "size=50%", "mode=1777", "uid=5", "nr_inodes=10k"))
    check.check(GOOD)
    for mode in ("host", "private", "container:a"):
        check.check(replace(GOOD, security=Security(pid=mode, ipc=mode, uts=mode, cgroupns=mode)))
    check.check(bind("/data/deep"))
    check.check(replace(GOOD, network=Network(ports=(PortBinding(container_port=80, host_port=8080),))))


@pytest.mark.parametrize(
    "limits",
    [
        Resources(memory_bytes=1 << 20),
        Resources(memory_bytes=-1),
        Resources(memory_swap_bytes=64 << 20),
        Resources(memory_bytes=64 << 20, memory_swap_bytes=32 << 20),
        Resources(memory_bytes=64 << 20, memory_reservation_bytes=128 << 20),
        Resources(memory_swappiness=101),
        Resources(nano_cpus=5_000_000_000),
        Resources(nano_cpus=1),
        Resources(nano_cpus=10**9, cpu_quota_us=1000),
        Resources(cpu_period_us=10),
        Resources(cpu_quota_us=10),
        Resources(cpuset_cpus="x"),
        Resources(cpuset_cpus="3-1"),
        Resources(cpuset_mems="0,,1"),
        Resources(blkio_weight=5),
        Resources(oom_score_adj=2000),
    ],
)
def test_limits_refused(limits: Resources) -> None:
    with pytest.raises(errors.Invalid):
        resources.check(limits, HOST)


def test_limits_computed() -> None:
    assert resources.swap_bytes(Resources(memory_bytes=10)) == 20
    assert resources.swap_bytes(Resources(memory_bytes=10, memory_swap_bytes=-1)) == -1
    assert resources.cpu_quota(Resources(nano_cpus=250_000_000)) == (25_000, 100_000)
    assert resources.parse_set("0-2,7", "x") == {0, 1, 2, 7}
    built, warnings = resources.section(
        Resources(memory_bytes=64 << 20, memory_swappiness=1, oom_kill_disable=True),
        HostFacts(cgroup_version=2, swap_limit=False),
        {},
    )
    assert built == {"memory": {"limit": 64 << 20}}
    assert len(warnings) == 3
    with pytest.raises(errors.Invalid):
        rlimits.check((Ulimit(name="wings", soft=1, hard=1),))
    with pytest.raises(errors.Invalid):
        rlimits.check((Ulimit(name="nofile", soft=2, hard=1),))
    with pytest.raises(errors.Invalid):
        devices.check_rules(("c 1:2:3 rwm",))


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(errors.Invalid, match="empty"):
        resolve.command(replace(GOOD, command=("", "x")), ImageConfig())


def test_log_options() -> None:
    default = LogPolicy()
    assert log_options.resolve(LogConfig(), default) == default
    chosen = log_options.resolve(
        LogConfig(driver="json-file", options={"max-size": "1m", "max-file": "2"}), default
    )
    assert (chosen.driver, chosen.size_bytes_max, chosen.files_max) == ("k8s-file", 1 << 20, 2)
    assert log_options.resolve(LogConfig(options={"max-size": "-1"}), default).size_bytes_max == 0
    assert not log_options.resolve(LogConfig(driver="none"), default).in_files
    log_options.resolve(LogConfig(options={"mode": "non-blocking", "max-buffer-size": "1m"}), default)
    for bad in (
        LogConfig(driver="carrier-pigeon"),
        LogConfig(options={"max-sizes": "1m"}),
        LogConfig(options={"max-file": "0"}),
        LogConfig(options={"max-size": "big"}),
        LogConfig(options={"mode": "odd"}),
        LogConfig(options={"max-buffer-size": "1m"}),
        LogConfig(options={"mode": "non-blocking", "max-buffer-size": "big"}),
    ):
        with pytest.raises(errors.Invalid):
            log_options.resolve(bad, default)


NOW = datetime(2026, 6, 1, tzinfo=UTC)


def record(name: str = "web", **fields: Any) -> Record:
    spec = fields.pop("spec", GOOD)
    mounts = tuple(MountPoint(mount=mount) for mount in spec.mounts)
    created_at = fields.pop("created_at", NOW)
    return Record(id="ab" * 32, name=name, created_at=created_at, spec=spec, mounts=mounts, **fields)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", "we", True),
        ("name", "^/web$", True),
        ("name", "^x", False),
        ("id", "abab", True),
        ("label", "tier=front", True),
        ("label", "tier", True),
        ("label", "tier=back", False),
        ("ancestor", "web", True),
        ("ancestor", "other", False),
        ("status", "created", True),
        ("status", "running", False),
        ("network", "bridge", True),
        ("network", "none", False),
        ("publish", "8080", True),
        ("publish", "80/tcp", True),
        ("publish", "81", False),
        ("publish", "8000-8100/tcp", True),
        ("publish", "80/udp", False),
        ("expose", "90", True),
        ("expose", "80/tcp", True),  # what is published is exposed
        ("expose", "8080", False),
        ("health", "none", True),
        ("is-task", "false", True),
        ("exited", "0", False),
        ("volume", "/data", True),
    ],
)
def test_filters(key: str, value: str, expected: bool) -> None:
    spec = replace(
        bind("/data"),
        labels={"tier": "front"},
        network=Network(ports=(PortBinding(container_port=80, host_port=8080),), expose=("90",)),
    )
    found = record(spec=spec, status=Status(state=State.CREATED))
    assert filters.matches(found, {key: (value,)}, find=lambda _: found) is expected


def test_filters_combine_and_refuse() -> None:
    older, newer = record(created_at=datetime(2026, 1, 1, tzinfo=UTC)), record("new")
    assert filters.matches(older, {"before": ("new",), "name": ("nope", "web")}, find=lambda _: newer)
    assert not filters.matches(older, {"since": ("new",)}, find=lambda _: newer)
    labelled = replace(older, spec=replace(older.spec, labels={"tier": "front", "x": ""}))
    assert filters.matches(labelled, {"label": ("tier=front", "x")}, find=lambda _: newer)
    assert not filters.matches(labelled, {"label": ("tier=front", "y")}, find=lambda _: newer)
    with pytest.raises(errors.Invalid):
        filters.check({"colour": ("red",)})
    for bad_of_prune in ({"colour": ("red",)}, {"until": ("x",)}):
        with pytest.raises(errors.Invalid):
            filters.check_prune(bad_of_prune, NOW)
    for bad in (
        {"status": ("flying",)},
        {"name": ("(",)},
        {"exited": ("x",)},
        {"publish": ("x",)},
    ):
        with pytest.raises(errors.Invalid):
            filters.matches(older, bad, find=lambda _: newer)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"until": ("24h",)}, True),
        ({"until": ("2026-01-02",)}, True),
        ({"until": ("2025-12-31T00:00:00",)}, False),
        ({"until": ("1767225600",)}, False),
        ({"label": ("a",)}, False),
        ({"label!": ("a",)}, True),
    ],
)
def test_prune_filters(wanted: dict[str, tuple[str, ...]], expected: bool) -> None:
    old = record(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert filters.matches_prune(old, wanted, NOW) is expected


def test_what_netd_is_asked_for() -> None:
    image = ImageConfig(exposed_ports=("80/tcp", "53/udp", "8000-8001"))
    spec = replace(
        GOOD, network=Network(publish_all=True, ports=(PortBinding(container_port=80, host_port=1),))
    )
    bound = [(port.container_port, port.protocol or "tcp", port.host_port) for port in published(spec, image)]
    assert bound == [(80, "tcp", 1), (53, "udp", 0), (8000, "tcp", 0), (8001, "tcp", 0)]
    plain = spec_to_pb(GOOD, ImageConfig(), name="web", hostname="h")
    assert [endpoint.network for endpoint in plain.endpoints] == ["bridge"]
    named = replace(
        GOOD, network=Network(mode="front", endpoints=(Endpoint(network="back", aliases=("b",)),))
    )
    both = spec_to_pb(named, ImageConfig(), name="web", hostname="h")
    assert [endpoint.network for endpoint in both.endpoints] == ["front", "back"]
    only = replace(GOOD, network=Network(endpoints=(Endpoint(network="back", ip="10.0.0.9"),)))
    assert [
        endpoint.ip for endpoint in spec_to_pb(only, ImageConfig(), name="w", hostname="h").endpoints
    ] == ["10.0.0.9"]
    alone = spec_to_pb(replace(GOOD, network=Network(mode="none")), ImageConfig(), name="w", hostname="h")
    assert not alone.endpoints


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("99", True),
        ("90-100", True),
        ("90-100/tcp", True),
        ("90-100/udp", False),
        ("53/udp", True),
        ("80", False),
    ],
)
def test_exposed_ports_are_found_in_ranges(wanted: str, expected: bool) -> None:
    found = record(status=Status(), image=ImageConfig(exposed_ports=("99/tcp", "53/udp")))
    assert filters.matches(found, {"expose": (wanted,)}, find=lambda _: found) is expected


@pytest.mark.parametrize(("key", "value"), [("expose", "x"), ("expose", "1-x"), ("is-task", "x")])
def test_filter_values_that_make_no_sense_are_refused(key: str, value: str) -> None:
    found = record(status=Status(), image=ImageConfig(exposed_ports=("99/tcp",)))
    with pytest.raises(errors.Invalid):
        filters.matches(found, {key: (value,)}, find=lambda _: found)
