"""The options of run, one by one, as the daemon gets them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from google.protobuf import json_format

from cli.commands.run import run
from cli.specs import container
from services.kit import errors
from tests.unit.cli.specs.commands import given, run_spec


def shown(line: str) -> dict[str, object]:
    """Return the specification without what every one has."""
    spec = json_format.MessageToDict(run_spec(f"{line} img"), preserving_proto_field_name=True)
    assert spec.pop("image") == "img"
    assert spec.pop("restart") == {"condition": "RESTART_CONDITION_NO"} or "--restart" in line
    for empty in ("log", "resources", "network", "security"):
        if not spec.get(empty):
            spec.pop(empty, None)
    return spec


SECURITY = "security"
CASES: list[tuple[str, dict[str, object]]] = [
    ("", {}),
    ("--name web", {"name": "web"}),
    ("-l a=b -l c", {"labels": {"a": "b", "c": ""}}),
    ("--annotation a=b", {"annotations": {"a": "b"}}),
    ("--platform linux/arm64", {"platform": "linux/arm64"}),
    ("--runtime runc", {"runtime": "runc"}),
    ("--entrypoint /x", {"entrypoint": ["/x"]}),
    ("--entrypoint=", {"clear_entrypoint": True}),
    ("-e A=1 -e A=2 -e B=", {"env": ["A=2", "B="]}),
    ("-e NO_SUCH_VARIABLE", {"env": ["NO_SUCH_VARIABLE"]}),
    ("--group-add adm --group-add 7", {"groups": ["adm", "7"]}),
    ("--init", {"init": True}),
    ("-it", {"open_stdin": True, "tty": True}),
    ("-u 1:2 -w /srv", {"user": "1:2", "working_dir": "/srv"}),
    ("--rm", {"auto_remove": True}),
    ("--stop-signal INT --stop-timeout 3", {"stop_signal": "INT", "stop_grace_ms": "3000"}),
    ("--stop-timeout=-1", {"stop_grace_ms": "-1000"}),
    (
        "--health-cmd 'curl x' --health-interval 1m30s --health-retries 2 --health-on-failure kill",
        {
            "health": {
                "test": ["CMD-SHELL", "curl x"],
                "interval_ms": "90000",
                "retries": 2,
                "on_failure": "HEALTH_ACTION_KILL",
            }
        },
    ),
    ("--no-healthcheck", {"health": {"test": ["NONE"]}}),
    ("--add-host a:1.2.3.4 --add-host b=[::1] --add-host c:host-gateway",
     {"network": {"extra_hosts": ["a:1.2.3.4", "b:::1", "c:host-gateway"]}}),
    ("--dns 1.1.1.1 --dns-search x.y --dns-opt ndots:2",
     {"network": {"dns": ["1.1.1.1"], "dns_search": ["x.y"], "dns_options": ["ndots:2"]}}),
    ("-h box --domainname d", {"network": {"hostname": "box", "domainname": "d"}}),
    ("--expose 80 --expose 90-91/udp", {"network": {"expose": ["80/tcp", "90-91/udp"]}}),
    ("-P", {"network": {"publish_all": True}}),
    ("-p 80", {"network": {"ports": [{"container_port": 80, "protocol": "tcp"}]}}),
    ("-p 0:80", {"network": {"ports": [{"container_port": 80, "protocol": "tcp"}]}}),
    (
        "-p 127.0.0.1:8080:80/udp",
        {"network": {"ports": [
            {"host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "protocol": "udp"}
        ]}},
    ),
    (
        "-p [::1]:8000-8001:80-81",
        {"network": {"ports": [
            {"host_ip": "::1", "host_port": 8000, "host_port_end": 8001, "container_port": 80,
             "container_port_end": 81, "protocol": "tcp"}
        ]}},
    ),
    ("--network none", {"network": {"mode": "none"}}),
    ("--net container:db", {"network": {"mode": "container:db"}}),
    ("--network default", {}),
    (
        "--network web --network-alias a --ip 10.0.0.9",
        {"network": {"mode": "web", "endpoints": [{"network": "web", "aliases": ["a"], "ip": "10.0.0.9"}]}},
    ),
    (
        "--network name=web,alias=a,ip=10.0.0.9,driver-opt=k=v,gw-priority=-3 --network other",
        {"network": {"mode": "web", "endpoints": [
            {"network": "web", "aliases": ["a"], "ip": "10.0.0.9", "options": {"k": "v"}, "gateway_priority": -3},
            {"network": "other"},
        ]}},
    ),
    ("--ip 172.17.0.9", {"network": {"endpoints": [{"network": "bridge", "ip": "172.17.0.9"}]}}),
    ("--mac-address 02:42:AC:11:00:02", {"network": {"mac": "02:42:ac:11:00:02"}}),
    ("--link db:database", {"network": {"links": ["db:database"]}}),
    ("-v /data:/srv:ro", {"mounts": [
        {"type": "MOUNT_TYPE_BIND", "source": "/data", "target": "/srv", "read_only": True,
         "bind_create_source": True}
    ]}),
    ("-v vol:/srv:nocopy", {"mounts": [
        {"type": "MOUNT_TYPE_VOLUME", "source": "vol", "target": "/srv", "volume_no_copy": True}
    ]}),
    ("-v vol:/etc/../srv/./ --tmpfs //run/ --mount type=volume,dst=/a/..//b", {"mounts": [
        {"type": "MOUNT_TYPE_VOLUME", "source": "vol", "target": "/srv"},
        {"type": "MOUNT_TYPE_VOLUME", "target": "/b"},
        {"type": "MOUNT_TYPE_TMPFS", "target": "/run"},
    ]}),
    ("-v /a -v /b -v /b/ -v vol:/a -v vol:/a --tmpfs /t --tmpfs /t:size=1m", {"mounts": [
        {"type": "MOUNT_TYPE_VOLUME", "source": "vol", "target": "/a"},
        {"type": "MOUNT_TYPE_VOLUME", "target": "/b"},
        {"type": "MOUNT_TYPE_TMPFS", "target": "/t", "tmpfs_size_bytes": "1048576"},
    ]}),
    ("-v /srv --volume-driver x", {"mounts": [
        {"type": "MOUNT_TYPE_VOLUME", "target": "/srv", "volume_driver": "x"}
    ]}),
    ("--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave", {"mounts": [
        {"type": "MOUNT_TYPE_BIND", "source": "/a", "target": "/b", "read_only": True, "propagation": "rslave"}
    ]}),
    ("--tmpfs /run:size=1m,mode=1770,noexec", {"mounts": [
        {"type": "MOUNT_TYPE_TMPFS", "target": "/run", "tmpfs_size_bytes": "1048576", "tmpfs_mode": 0o1770,
         "tmpfs_options": ["noexec"]}
    ]}),
    ("--tmpfs /run:size=50%", {"mounts": [
        {"type": "MOUNT_TYPE_TMPFS", "target": "/run", "tmpfs_options": ["size=50%"]}
    ]}),
    ("--volumes-from a:ro", {"volumes_from": ["a:ro"]}),
    ("--storage-opt size=1G", {"storage_options": {"size": "1G"}}),
    ("--log-driver journald --log-opt tag=x", {"log": {"driver": "journald", "options": {"tag": "x"}}}),
    ("-m 64m --memory-swap=-1 --memory-reservation 32m --memory-swappiness 5", {"resources": {
        "memory_bytes": "67108864", "memory_swap_bytes": "-1", "memory_reservation_bytes": "33554432",
        "memory_swappiness": 5}}),
    ("--memory-swappiness=-1", {}),
    ("--cpus 1.5 -c 512 --cpu-period 100000 --cpu-quota=-1", {"resources": {
        "nano_cpus": "1500000000", "cpu_shares": "512", "cpu_period_us": "100000", "cpu_quota_us": "-1"}}),
    ("--cpuset-cpus 0-1 --cpuset-mems 0", {"resources": {"cpuset_cpus": "0-1", "cpuset_mems": "0"}}),
    ("--pids-limit=-1 --oom-kill-disable --oom-score-adj=-5", {"resources": {
        "pids_limit": "-1", "oom_kill_disable": True, "oom_score_adj": -5}}),
    ("--blkio-weight 300 --blkio-weight-device /dev/sda:200", {"resources": {
        "blkio_weight": 300, "blkio_weight_device": [{"path": "/dev/sda", "value": "200"}]}}),
    ("--device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:9", {"resources": {
        "device_read_bps": [{"path": "/dev/sda", "value": "1048576"}],
        "device_write_iops": [{"path": "/dev/sda", "value": "9"}]}}),
    ("--ulimit nofile=1024:2048 --ulimit core=-1 --shm-size 1m", {"resources": {
        "ulimits": [{"name": "nofile", "soft": "1024", "hard": "2048"}, {"name": "core", "soft": "-1", "hard": "-1"}],
        "shm_bytes": "1048576"}}),
    ("--privileged --read-only", {SECURITY: {"privileged": True, "read_only_root": True}}),
    ("--cap-add net_admin --cap-drop ALL", {SECURITY: {"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}}),
    ("--pid host --ipc container:a --uts host --cgroupns private --userns host", {SECURITY: {
        "pid": "host", "ipc": "container:a", "uts": "host", "cgroupns": "private", "userns": "host"}}),
    ("--device /dev/fuse --device /dev/a:/dev/b:r --device /dev/c:rw", {SECURITY: {"devices": [
        {"host_path": "/dev/fuse"},
        {"host_path": "/dev/a", "container_path": "/dev/b", "permissions": "r"},
        {"host_path": "/dev/c", "permissions": "rw"},
    ]}}),
    ("--device-cgroup-rule 'c 42:* rmw'", {SECURITY: {"device_cgroup_rules": ["c 42:* rmw"]}}),
    ("--sysctl net.core.somaxconn=9", {SECURITY: {"sysctls": {"net.core.somaxconn": "9"}}}),
    ("--security-opt no-new-privileges --security-opt seccomp=unconfined", {SECURITY: {
        "no_new_privileges": True, "seccomp": "unconfined"}}),
    ("--security-opt no-new-privileges:false --security-opt seccomp=builtin", {}),
    ("--security-opt label:disable --security-opt apparmor=x --security-opt systempaths=unconfined", {SECURITY: {
        "selinux": ["disable"], "apparmor": "x", "systempaths_unconfined": True}}),
    ("--gpus all", {SECURITY: {"gpus": ["all"]}}),
    ("--isolation default", {}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line or "nothing" for line, _ in CASES])
def test_an_option_becomes_its_field(line: str, expected: dict[str, object]) -> None:
    assert shown(line) == expected


def test_the_command_is_not_looked_at() -> None:
    spec = run_spec("--rm img sh -c 'ls --rm=x' --name y")
    assert list(spec.cmd) == ["sh", "-c", "ls --rm=x", "--name", "y"] and not spec.name


@pytest.mark.parametrize(
    ("text", "condition", "retries"),
    [
        ("no", 1, 0),
        ("on-failure", 2, 0),
        ("on-failure:5", 2, 5),
        ("on-failure:", 2, 0),
        ("always", 3, 0),
        ("unless-stopped", 4, 0),
    ],
)
def test_restart_policies(text: str, condition: int, retries: int) -> None:
    policy = run_spec(f"--restart {text} img").restart
    assert (policy.condition, policy.max_retries) == (condition, retries)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--restart sometimes", "use no, always, unless-stopped"),
        ("--restart always:3", "can only be used with on-failure"),
        ("--restart on-failure:x", "give a whole number"),
        ("--restart always --rm", "cannot specify both --restart and --rm"),
        ("--no-healthcheck --health-cmd x", "conflicts with --health-"),
        ("--health-interval=-1s", "cannot be negative"),
        ("--health-timeout abc", "--health-timeout: invalid duration"),
        ("--health-on-failure explode", "use none, restart, kill, stop"),
        ("-m lots", "--memory: invalid size"),
        ("--cpus 1.0000000001", "at most 9 decimals"),
        ("--memory-swappiness 101", "must be between 0 and 100"),
        ("--oom-score-adj 2000", "must be between -1000 and 1000"),
        ("--blkio-weight 5", "must be 0, or between 10 and 1000"),
        ("--device-read-bps sda:1", "give a device's path"),
        ("--ulimit nofile=2:1", "above the hard limit"),
        ("--ulimit nofile", "'nofile': give NAME=SOFT[:HARD]"),
        ("--ulimit nofile=many", "'nofile=many': 'many': give a whole number"),
        ("-p 99999:80", "not within 1-65535"),
        ("-p 80-81:80-82", "differ in length"),
        ("-p 80/icmp", "use tcp, udp, sctp"),
        ("-p 1.2.3.4.5:80:80", "'1.2.3.4.5' is not an IP address"),
        ("--expose x", "no port or range"),
        ("--expose 82-80", "ends before it begins"),
        ("-e =x", "give NAME=value"),
        ("-l =x", "give key=value"),
        ("--env-file /no/such/file", "No such file"),
        ("--env-file ''", "give the name of a file"),
        ("--add-host a", "bad format for add-host"),
        ("--add-host a:nothere", "not an IP address"),
        ("--dns nothere", "not an IP address"),
        ("--mac-address 1:2", "not a valid mac address"),
        ("--network name=", "invalid field 'name'"),
        ("--network a --network a", "specified multiple times"),
        ("--network host --network a", "cannot attach both"),
        ("--network-alias x", "only supported for user-defined networks"),
        ("--network name=a,alias=x --network-alias y", "both --network-alias and per-network alias"),
        ("--network name=a,ip=1.1.1.1 --ip 1.1.1.2", "both --ip and the network's own"),
        ("--pid weird", "use host, private, container:NAME"),
        ("--ipc container:", "use none, private"),
        ("--cgroupns x", "use host, private, container:NAME"),
        ("--uts container:", "use host, private, container:NAME"),
        ("--cap-add 'a b'", "invalid capability"),
        ("--device x", "give /host/path"),
        ("--device /dev/a:/dev/b:q", "bad mode 'q'"),
        ("--device vendor.com/gpu=0", "not supported"),
        ("--device-cgroup-rule x", "give 'type major:minor mode'"),
        ("--security-opt nonsense", "invalid --security-opt"),
        ("--security-opt seccomp=/no/such", "opening seccomp profile"),
        ("--sysctl x", "give name=value"),
        ("--storage-opt x", "give key=value"),
        ("--log-driver none --log-opt a=b", "invalid logging opts"),
        ("--cpu-count 2", "on Windows"),
        ("--isolation hyperv", "there is only 'default'"),
        ("--use-api-socket", "not supported"),
        ("--link-local-ip 1.1.1.1", "not supported"),
        ("-v a:b:c:d", "give [source:]target"),
        ("-v /a:/b:what", "unknown option 'what'"),
        ("-v /a:/b:ro,rw", "contradict each other"),
        ("-v /a:/b:shared,slave", "contradict each other"),
        ("-v /a:/b:nocopy", "'nocopy' is for volumes"),
        ("-v vol:/b:slave", "'slave' is for paths of the host"),
        ("--mount type=bind,dst=/x", "a bind needs a source"),
        ("--mount bind-propagation=rslave,dst=/x", "cannot mix 'bind-*' options with mount type 'volume'"),
        (
            "--mount type=bind,src=/a,dst=/x,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
        ("--mount type=x,dst=/x", "use bind, volume, tmpfs, image"),
        ("--mount dst=/x,nonsense=1", "unexpected field 'nonsense'"),
        ("--tmpfs :size=1", "give target"),
        ("--mount type=tmpfs,dst=/x,tmpfs-mode=9", "give octal digits"),
    ],
)
def test_says_what_is_wrong(line: str, complaint: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        run_spec(f"{line} img")
    assert complaint in caught.value.message


@pytest.mark.parametrize("option", ["-m", "--memory-swap", "--memory-reservation", "--shm-size", "--cpus"])
def test_an_empty_limit_lifts_none(option: str) -> None:
    with pytest.raises(click.UsageError, match="the value is empty"):
        run_spec(f"{option} '' img")


def test_an_empty_pull_is_the_default() -> None:
    assert container.check_pull("") == "missing"


def test_files_of_variables_labels_and_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CALLER", "yes")
    (tmp_path / "env").write_text("# comment\nA=1\n\n  B=two words \nFROM_CALLER\nNOT_THERE\n")
    (tmp_path / "labels").write_text("x=1\ny\n")
    (tmp_path / "profile.json").write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }')
    spec = run_spec(
        f"--env-file {tmp_path}/env -e A=9 --label-file {tmp_path}/labels -l x=2"
        f" --security-opt seccomp={tmp_path}/profile.json img"
    )
    assert list(spec.env) == ["A=9", "B=two words ", "FROM_CALLER=yes"]
    assert dict(spec.labels) == {"x": "2", "y": ""}
    assert json.loads(spec.security.seccomp) == {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "profile.json").write_text("{")
    with pytest.raises(errors.Invalid, match="is no JSON"):
        run_spec(f"--security-opt seccomp={tmp_path}/profile.json img")


def test_relative_sources_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home-of-caller")
    spec = run_spec("-v ./a:/a -v ~/b:/b --mount type=bind,src=../c,dst=/c img")
    assert [mount.source for mount in spec.mounts] == [
        f"{tmp_path}/a",
        "/home-of-caller/b",
        str(tmp_path.parent / "c"),
    ]


@pytest.mark.parametrize(
    ("line", "detach", "expected"),
    [
        ("", False, (False, True, True)),
        ("-i", False, (True, True, True)),
        ("-a stdout", False, (False, True, False)),
        ("-a STDIN -a stderr", False, (True, False, True)),
        ("", True, (False, False, False)),
        ("-i", True, (False, False, False)),
    ],
)
def test_streams(line: str, detach: bool, expected: tuple[bool, bool, bool]) -> None:
    assert tuple(container.streams(given(run, f"{line} img"), detach=detach)) == expected


def test_a_file_of_variables_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"A=1\nB=x\0y\n")
    with pytest.raises(errors.Invalid, match=r"env: line 2: the value of 'B' holds a NUL byte"):
        run_spec(f"--env-file {tmp_path}/env img")


def test_streams_that_cannot_be() -> None:
    with pytest.raises(errors.Invalid, match="valid streams"):
        container.streams(given(run, "-a stdfoo img"), detach=False)
    with pytest.raises(errors.Invalid, match="both --attach and --detach"):
        container.streams(given(run, "-a stdout img"), detach=True)


def test_usage_errors_of_run_are_125() -> None:
    with pytest.raises(click.UsageError) as caught:
        run.make_context("run", ["--no-such", "img"])
    assert caught.value.exit_code == 125
