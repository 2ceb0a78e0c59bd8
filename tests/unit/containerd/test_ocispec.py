"""The configuration of a container: valid by the specification's own schema, and Docker's in what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from services.containerd.model.idmap import IdMap
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import (
    ContainerSpec,
    Device,
    DeviceLimit,
    HealthAction,
    Healthcheck,
    Mount,
    MountKind,
    Network,
    Resources,
    Security,
    Ulimit,
)
from services.containerd.ocispec import capabilities, process, resolve, resources, seccomp
from services.containerd.ocispec.build import BPF_ANNOTATION, build
from services.containerd.ocispec.facts import BoundFile, DeviceNode, HostFacts, Identity, Placement, Seccomp
from services.kit import errors

GOLDEN = Path(__file__).parents[2] / "golden/containerd"
HOST = HostFacts(
    architecture="amd64",
    kernel=(6, 1),
    cgroup_version=2,
    capabilities=frozenset(capabilities.BY_NUMBER),
    cpus=2,
)
PLACEMENT = Placement(
    container_id="c" * 64,
    rootfs="/run/c/rootfs",
    cgroup_path="/beeyard/c",
    netns_path="/proc/1/fd/9",
    hosts_path="/n/hosts",
    resolv_conf_path="/n/resolv.conf",
    hostname_path="/n/hostname",
    hostname="cccccccccccc",
)
SPEC = ContainerSpec(image="web", command=("serve",))


def schema() -> Draft4Validator:
    registry: Registry[Any] = Registry()
    for path in (GOLDEN / "runtime-spec").glob("*.json"):
        resource = Resource.from_contents(json.loads(path.read_text()), default_specification=DRAFT4)
        registry = registry.with_resource(path.name, resource)
    top = json.loads((GOLDEN / "runtime-spec/config-schema.json").read_text())
    return Draft4Validator(top | {"id": "config-schema.json"}, registry=registry)


VALIDATOR = schema()


def built(
    spec: ContainerSpec = SPEC, *, image: ImageConfig | None = None, **placement: Any
) -> dict[str, Any]:
    """Build, check against the schema, return."""
    host = placement.pop("host", HOST)
    config = build(spec, image or ImageConfig(), replace(PLACEMENT, **placement), host).config
    assert [error.message for error in VALIDATOR.iter_errors(config)] == []
    return config


def test_the_plain_container_is_as_recorded() -> None:
    recorded = GOLDEN / "plain.json"
    assert built() == json.loads(recorded.read_text())


sizes = st.integers(0, 1 << 40)
any_resources = st.builds(
    Resources,
    memory_bytes=sizes,
    memory_swap_bytes=st.sampled_from([-1, 0, 1 << 41]),
    memory_swappiness=st.none() | st.integers(0, 100),
    oom_kill_disable=st.booleans(),
    oom_score_adj=st.integers(-1000, 1000),
    nano_cpus=st.integers(0, 10**10),
    cpu_shares=st.integers(0, 1 << 18),
    cpu_quota_us=st.integers(-1, 10**6),
    cpu_rt_runtime_us=st.integers(0, 10**6),
    pids_max=st.integers(-1, 1 << 20),
    blkio_weight=st.sampled_from([0, 10, 1000]),
    ulimits=st.lists(
        st.builds(
            Ulimit, name=st.sampled_from(["nofile", "core", "rttime"]), soft=st.just(1), hard=st.just(-1)
        ),
        max_size=1,
    ).map(tuple),
    shm_bytes=sizes,
)
any_security = st.builds(
    Security,
    privileged=st.booleans(),
    cap_add=st.lists(st.sampled_from(["ALL", "SYS_ADMIN", "net_raw"])).map(tuple),
    cap_drop=st.lists(st.sampled_from(["ALL", "CHOWN"])).map(tuple),
    no_new_privileges=st.booleans(),
    read_only_root=st.booleans(),
    systempaths_unconfined=st.booleans(),
    ipc=st.sampled_from(["", "host", "none", "private", "shareable"]),
    pid=st.sampled_from(["", "host"]),
    uts=st.sampled_from(["", "host"]),
    cgroupns=st.sampled_from(["", "host", "private"]),
    device_cgroup_rules=st.lists(st.sampled_from(["c 42:* rmw", "a *:* r", "b 8:0 w"])).map(tuple),
)


@given(any_resources, any_security, st.booleans(), st.sampled_from([1, 2]), st.booleans())
def test_any_specification_is_valid(
    limits: Resources, security: Security, tty: bool, version: int, mapped: bool
) -> None:
    own = {"ids": IdMap(start=1 << 20, size=65_536), "user_namespace_path": "/u"} if mapped else {}
    spec = replace(SPEC, resources=limits, security=security, tty=tty, network=Network(domainname="example"))
    config = built(spec, host=replace(HOST, cgroup_version=version), **own)
    assert ("uidMappings" in config["linux"]) is mapped
    assert config["process"]["oomScoreAdj"] == limits.oom_score_adj
    assert config["process"]["capabilities"]["inheritable"] == []


def test_everything_at_once_is_valid() -> None:
    spec = ContainerSpec(
        image="web",
        command=("serve", "--all"),
        tty=True,
        annotations={"org.example": "1"},
        security=Security(
            cap_add=("SYS_PTRACE",),
            cap_drop=("CHOWN",),
            no_new_privileges=True,
            read_only_root=True,
            device_cgroup_rules=("c 42:* rwm", "a *:* m"),
            devices=(Device(host_path="/dev/fuse"),),
            sysctls={"net.core.somaxconn": "1024"},
            masked_paths=("/proc/uptime",),
        ),
        resources=Resources(
            memory_bytes=64 << 20,
            memory_reservation_bytes=32 << 20,
            memory_swappiness=10,
            oom_kill_disable=True,
            oom_score_adj=100,
            nano_cpus=1_500_000_000,
            cpu_shares=512,
            cpuset_cpus="0-1",
            pids_max=100,
            blkio_weight=300,
            device_read_bps=(DeviceLimit(path="/dev/sda", value=1 << 20),),
            device_write_iops=(DeviceLimit(path="/dev/sda", value=100),),
            ulimits=(Ulimit(name="nofile", soft=1024, hard=-1), Ulimit(name="core", soft=-1, hard=-1)),
            shm_bytes=1 << 20,
        ),
    )
    config = built(
        spec,
        tmpfs=(
            Mount(kind=MountKind.TMPFS, target="/cache", tmpfs_size_bytes=1 << 20, tmpfs_options=("exec",)),
        ),
        host=replace(HOST, cgroup_version=1),
        identity=Identity(uid=1000, gid=1000, groups=(1000, 50), home="/home/alice"),
        binds=(
            BoundFile(source="/data", target="/srv/deep/data", propagation="rshared"),
            BoundFile(source="/d2", target="/srv", read_only=True, recursive=False),
        ),
        devices=(DeviceNode(path="/dev/fuse", kind="c", major=10, minor=229),),
        block_numbers={"/dev/sda": (8, 0)},
        seccomp=Seccomp(section={"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}, bpf_base64="AA=="),
        init_path="/usr/bin/tini-static",
    )
    assert config["process"]["args"][:2] == ["/sbin/docker-init", "--"]
    assert config["process"]["rlimits"][1] == {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}
    assert config["linux"]["resources"]["memory"]["swap"] == 128 << 20
    assert config["linux"]["resources"]["cpu"]["quota"] == 150_000
    assert config["linux"]["rootfsPropagation"] == "shared"
    assert config["annotations"][BPF_ANNOTATION] == "AA=="
    targets = [mount["destination"] for mount in config["mounts"]]
    assert targets.index("/srv") < targets.index("/srv/deep/data"), "a mount must not hide an earlier one"
    cache = next(mount for mount in config["mounts"] if mount["destination"] == "/cache")
    assert "exec" in cache["options"]
    assert "noexec" not in cache["options"]


def test_privileged() -> None:
    config = built(ContainerSpec(image="web", command=("x",), security=Security(privileged=True)))
    assert config["process"]["capabilities"]["bounding"] == list(capabilities.BY_NUMBER)
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "maskedPaths" not in config["linux"]
    sysfs = next(mount for mount in config["mounts"] if mount["destination"] == "/sys")
    assert "rw" in sysfs["options"]


def test_namespaces() -> None:
    def kinds(config: dict[str, Any]) -> dict[str, str]:
        return {entry["type"]: entry.get("path", "") for entry in config["linux"]["namespaces"]}

    assert kinds(built()) == {
        "mount": "",
        "network": "/proc/1/fd/9",
        "pid": "",
        "ipc": "",
        "uts": "",
        "cgroup": "",
    }
    assert "cgroup" not in kinds(built(host=replace(HOST, cgroup_version=1)))  # as Docker has it on v1
    host = ContainerSpec(image="web", command=("x",), security=Security(pid="host", ipc="host", uts="host"))
    config = built(host, netns_path=None)
    assert set(kinds(config)) == {"mount", "cgroup"}
    assert "hostname" not in config
    assert "sysctl" not in config["linux"], "not ours to change on the host"
    private = Security(pid="private", ipc="private", uts="private", cgroupns="private")
    assert built(replace(SPEC, security=private)) == built()
    joined = Security(**dict.fromkeys(("pid", "ipc", "uts", "cgroupns"), "container:a"))
    paths = {kind: f"/proc/7/ns/{kind}" for kind in ("pid", "ipc", "uts", "cgroup")}
    shared = built(replace(SPEC, security=joined), shared_namespaces=paths)
    assert kinds(shared).items() >= paths.items()
    assert "hostname" not in shared, "it is the other one's"
    nodes = kinds(built(replace(SPEC, security=joined), shared_namespaces={"pid": paths["pid"]}))
    assert not nodes.keys() & {"ipc", "uts", "cgroup"}, "the other one is in the node's"


def test_a_read_only_root_leaves_nothing_to_write_to() -> None:
    def network_files(spec: ContainerSpec) -> list[bool]:
        mounts = built(spec)["mounts"]
        return ["ro" in mount["options"] for mount in mounts if mount["source"].startswith("/n/")]

    def closed(spec: ContainerSpec = SPEC, version: int = 1, **placement: Any) -> bool:
        host = replace(HOST, cgroup_version=version)
        return "/sys/fs/cgroup" in built(spec, host=host, **placement)["linux"].get("readonlyPaths", [])

    spec = replace(SPEC, security=Security(read_only_root=True))
    assert network_files(SPEC) == [False] * 3
    assert network_files(spec) == [True] * 3
    assert closed(spec)
    assert closed(replace(SPEC, security=Security(read_only_root=True, systempaths_unconfined=True)))
    assert not closed(replace(SPEC, security=Security(read_only_root=True, privileged=True)))
    assert not closed(spec, version=2)
    assert not closed(spec, binds=(BoundFile(source="/sys/fs/cgroup", target="/sys/fs/cgroup"),))
    assert not closed()


def test_a_user_holds_no_capability() -> None:
    held = built(identity=Identity(uid=1, gid=1))["process"]["capabilities"]
    assert held["bounding"] == [name for name in capabilities.BY_NUMBER if name in capabilities.DEFAULT]
    assert held["effective"] == held["permitted"] == held["inheritable"] == []


@pytest.mark.parametrize(
    ("entrypoint", "command", "image", "expected"),
    [
        (None, (), ImageConfig(entrypoint=("e",), command=("c",)), ["e", "c"]),
        (None, ("x",), ImageConfig(entrypoint=("e",), command=("c",)), ["e", "x"]),
        (("n",), (), ImageConfig(entrypoint=("e",), command=("c",)), ["n"]),
        (("n",), ("x",), ImageConfig(entrypoint=("e",), command=("c",)), ["n", "x"]),
        ((), ("x",), ImageConfig(entrypoint=("e",), command=("c",)), ["x"]),
        (None, (), ImageConfig(command=("c", "d")), ["c", "d"]),
    ],
)
def test_what_runs(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], image: ImageConfig, expected: list[str]
) -> None:
    spec = ContainerSpec(image="web", entrypoint=entrypoint, command=command)
    assert built(spec, image=image)["process"]["args"] == expected


def test_no_command_is_refused() -> None:
    with pytest.raises(errors.Invalid, match="no command"):
        built(ContainerSpec(image="web", entrypoint=()), image=ImageConfig(command=("c",)))
    with pytest.raises(errors.Invalid, match="empty") as refused:
        built(ContainerSpec(image="web", command=("", "x")), image=ImageConfig())
    assert refused.value.metadata["exit_code"] == "127", "with which run ends"


@pytest.mark.parametrize("own", [(), ("NONE",)])
def test_an_action_on_failure_needs_a_health_check(own: tuple[str, ...]) -> None:
    check = Healthcheck(test=("CMD", "c"))
    asked = ContainerSpec(image="web", health=Healthcheck(test=own, on_failure=HealthAction.KILL))
    with pytest.raises(errors.Invalid, match="--health-on-failure kill") as refused:
        resolve.check_health(asked, ImageConfig(health=check if own else None))
    assert refused.value.reason == "NO_HEALTHCHECK"
    if not own:
        resolve.check_health(asked, ImageConfig(health=check))
    resolve.check_health(ContainerSpec(image="web", health=Healthcheck(test=own)), ImageConfig())


def test_environment_is_merged_in_order() -> None:
    image = ImageConfig(env=("PATH=/image", "A=1", "B=2"))
    spec = ContainerSpec(image="web", command=("x",), env=("B=3", "A", "C=a=b"), tty=True)
    env = built(spec, image=image, identity=Identity(home="/home/h"))["process"]["env"]
    assert env == ["PATH=/image", "HOSTNAME=cccccccccccc", "TERM=xterm", "B=3", "C=a=b", "HOME=/home/h"]


@pytest.mark.parametrize(
    ("pid", "has"), [("", True), ("private", True), ("host", False), ("container:x", False)]
)
def test_an_init_is_for_processes_of_its_own(pid: str, has: bool) -> None:
    assert process.has_init(ContainerSpec(image="web", init=True, security=Security(pid=pid))) is has


def test_limits_of_the_daemon_are_limits_of_the_container() -> None:
    twice = (Ulimit(name="nofile", soft=7, hard=7), Ulimit(name="nofile", soft=5, hard=-1))
    spec = ContainerSpec(image="web", command=("x",), resources=Resources(ulimits=twice))
    host = replace(HOST, hard_limits={"nofile": 1000})
    result = build(spec, ImageConfig(), PLACEMENT, host)
    assert result.config["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 1000}]  # type: ignore[index]
    assert "lowered to 1000" in result.warnings[0]


def test_a_users_mount_replaces_a_default_one() -> None:
    spec = ContainerSpec(
        image="web", command=("x",), mounts=(Mount(kind=MountKind.TMPFS, target="/dev/shm"),)
    )
    shm = [mount for mount in built(spec)["mounts"] if mount["destination"] == "/dev/shm"]
    assert len(shm) == 1
    hosts = built(binds=(BoundFile(source="/mine", target="/etc/hosts"),))["mounts"]
    assert [mount["source"] for mount in hosts if mount["destination"] == "/etc/hosts"] == ["/mine"]


@given(
    add=st.lists(st.sampled_from([*capabilities.BY_NUMBER, "ALL"]), max_size=5),
    drop=st.lists(st.sampled_from([*capabilities.BY_NUMBER, "ALL"]), max_size=5),
)
def test_capabilities_never_exceed_what_was_asked(add: list[str], drop: list[str]) -> None:
    got = set(capabilities.resolve(add=add, drop=drop, privileged=False, available=capabilities.BY_NUMBER))
    assert got <= set(capabilities.BY_NUMBER)
    if "ALL" not in add:
        assert got <= set(capabilities.DEFAULT) | set(add)
        assert set(add) <= got
    else:
        assert got == set(capabilities.BY_NUMBER) - set(drop)


def test_capabilities_that_the_daemon_lacks() -> None:
    available = frozenset(capabilities.BY_NUMBER) - {"CAP_SYS_RESOURCE"}
    with pytest.raises(errors.Unsupported, match="CAP_SYS_RESOURCE"):
        capabilities.resolve(add=("sys_resource",), drop=(), privileged=False, available=available)
    everything = capabilities.resolve(add=("ALL",), drop=(), privileged=False, available=available)
    assert set(everything) == available
    with pytest.raises(errors.Invalid, match="unknown capability"):
        capabilities.resolve(add=("FLY",), drop=(), privileged=False, available=available)


def test_an_exec_gets_the_containers_process_with_its_own_program() -> None:
    main = built()["process"]
    section = process.exec_section(
        main,
        argv=("sh",),
        env=("A=1",),
        identity=Identity(uid=5, gid=5, home="/home/five"),
        workdir="",
        tty=True,
        privileged=False,
        available=frozenset(capabilities.BY_NUMBER),
    )
    assert section["args"] == ["sh"]
    assert section["cwd"] == main["cwd"]
    assert "HOME=/home/five" in section["env"]  # type: ignore[operator]
    assert section["capabilities"]["effective"] == []  # type: ignore[index]


def test_seccomp_conditions() -> None:
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrno": "ENOSYS",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {
                    "names": ["reboot"],
                    "action": "SCMP_ACT_ERRNO",
                    "errno": "EPERM",
                    "excludes": {"caps": ["CAP_SYS_BOOT"]},
                },
                {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.5"}},
            ],
        }
    )  # fmt: skip

    def names(caps: set[str], kernel: tuple[int, int] = (6, 1)) -> list[str]:
        section = seccomp.resolve(profile, capabilities=caps, architecture="amd64", kernel=kernel)
        rules = section["syscalls"]
        assert isinstance(rules, list)
        return [name for rule in rules for name in rule["names"]]

    assert names(set()) == ["read", "reboot"]
    assert names({"CAP_SYS_ADMIN", "CAP_SYS_BOOT"}) == ["read", "mount"]
    assert names(set(), (6, 10)) == ["read", "reboot", "new"]
    section = seccomp.resolve(profile, capabilities=(), architecture="amd64", kernel=(6, 1))
    assert section["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert section["defaultErrnoRet"] == 38
    built(seccomp=Seccomp(section=section))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"defaultAction": 1}', '{"defaultAction":"A","syscalls":[1]}']
)
def test_a_malformed_profile_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid, match="seccomp profile"):
        seccomp.resolve(text, capabilities=(), architecture="amd64", kernel=(6, 1))


@pytest.mark.parametrize(
    "profile",
    [
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
        },
    ],
)
def test_nobody_answers_system_calls(profile: dict[str, Any]) -> None:
    with pytest.raises(errors.Unsupported, match="SCMP_ACT_NOTIFY is not supported"):
        seccomp.resolve(json.dumps(profile), capabilities=(), architecture="amd64", kernel=(6, 1))


def test_network_mode_host_shares_no_sysctl() -> None:
    spec = ContainerSpec(image="web", command=("x",), network=Network(mode="container:a"))
    assert "sysctl" not in built(spec)["linux"]


def test_twice_the_largest_memory_limit_is_a_number_that_the_runtime_reads() -> None:
    limits = Resources(memory_bytes=2**63 - 1)
    assert resources.swap_bytes(limits) == 2**63 - 1
