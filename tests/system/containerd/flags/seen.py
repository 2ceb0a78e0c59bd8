"""How a flag is seen to have had its effect.

`SEEN`: from inside the container of `run`, of `exec`, or of what `update` has changed: a script that ends well if it
is. A name in braces is one of the test's, as in the examples. `RECORDED`: what `inspect` says of a container of
`create`, where nothing of it can be seen from inside.
"""

from __future__ import annotations


def _limit(v1: str, v2: str, *lines: str) -> str:
    """Return a script that looks for one of some lines in a file of the container's control group.

    Args:
        v1: The file, with its controller, where control groups are those of version 1.
        v2: The file where there is the one hierarchy of version 2.
        lines: Expressions; a line may come from either version.
    """
    wanted = " ".join(f"-e '{line}'" for line in lines)
    return f"grep -qsx {wanted} /sys/fs/cgroup/{v1} /sys/fs/cgroup/{v2}"


def _rate(name: str, key: str, value: int) -> str:
    return _limit(
        f"blkio/blkio.throttle.{name}_device",
        "io.max",
        f"{{disk_number}} {value}",
        f".* {key}={value} .*",
        f".* {key}={value}",
    )


LIMITS = {
    "--cpu-period": _limit("cpu/cpu.cfs_period_us", "cpu.max", "50000", ".* 50000"),
    "--cpu-shares": _limit(
        "cpu/cpu.shares", "cpu.weight", "512", "20", "59"
    ),  # two ways to make weights of shares
    "--cpus": _limit("cpu/cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"),
    "--cpuset-cpus": "grep -q 'Cpus_allowed_list:.0$' /proc/self/status",
    "--cpuset-mems": "grep -q 'Mems_allowed_list:.0$' /proc/self/status",
    "--memory": _limit("memory/memory.limit_in_bytes", "memory.max", str(64 << 20)),
    "--memory-reservation": _limit("memory/memory.soft_limit_in_bytes", "memory.low", str(32 << 20)),
    "--pids-limit": _limit("pids/pids.max", "pids.max", "50"),
}
"""Of `run` and of `update`: their examples are the same."""
_CAPABLE = "grep -q 'CapEff:.0*[1-9a-f]*[3-7b-f][0-9a-f]\\{{5\\}}$' /proc/self/status"
"""CAP_SYS_ADMIN (21) is there."""

SEEN = {
    "run": LIMITS
    | {
        "--add-host": "grep -q '10.0.0.7.*db' /etc/hosts",
        "--cap-add": "test $((0x$(sed -n 's/CapEff:\\t//p' /proc/self/status) >> 12 & 1)) = 1",
        "--cap-drop": "grep -q 'CapEff:.0000000000000000' /proc/self/status",
        "--cgroup-parent": "grep -q ':/{cgroup}/' /proc/self/cgroup",
        "--cgroupns": "test $(readlink /proc/self/ns/cgroup) != '{cgroup_namespace}'",
        "--cpu-quota": _limit("cpu/cpu.cfs_quota_us", "cpu.max", "20000", "20000 100000"),
        "--device": "test -c /dev/other",
        "--device-cgroup-rule": "mknod /n c 42 0 && ! (: </n) 2>&1 | grep -q 'not permitted'",
        "--device-read-bps": _rate("read_bps", "rbps", 1 << 20),
        "--device-read-iops": _rate("read_iops", "riops", 1000),
        "--device-write-bps": _rate("write_bps", "wbps", 1 << 20),
        "--device-write-iops": _rate("write_iops", "wiops", 1000),
        "--dns": "grep -q 'nameserver 10.0.0.2' /etc/resolv.conf",
        "--dns-option": "grep -q ndots:2 /etc/resolv.conf",
        "--dns-search": "grep -q example.org /etc/resolv.conf",
        "--domainname": "grep -q example.org /proc/sys/kernel/domainname",
        "--env": "test $A = b",
        "--env-file": "test $FROM_FILE = yes",
        "--group-add": "grep -q 'Groups:.*27' /proc/self/status",
        "--hostname": "test $(hostname) = web",
        "--init": "grep -qx docker-init /proc/1/comm",
        "--ip": "ip address show | grep -q 10.213.7.9",
        "--ipc": "test $(readlink /proc/self/ns/ipc) = '{ipc_namespace}'",
        "--mac-address": "ip link show | grep -q 02:42:0a:d5:07:09",
        "--memory-swap": _limit(
            "memory/memory.memsw.limit_in_bytes", "memory.swap.max", str(96 << 20), str(32 << 20)
        ),
        "--memory-swappiness": "grep -qx 10 /sys/fs/cgroup/memory/memory.swappiness",
        "--mount": "grep -q ' /t tmpfs' /proc/mounts",
        "--network": "test $(ls /sys/class/net | wc -w) = 1",
        "--oom-kill-disable": "grep -q 'oom_kill_disable 1' /sys/fs/cgroup/memory/memory.oom_control",
        "--oom-score-adj": "test $(cat /proc/self/oom_score_adj) = 100",
        "--pid": "test $(ls -d /proc/[0-9]* | wc -l) -gt 10",
        "--privileged": f"{_CAPABLE} && grep -q 'Seccomp:.0' /proc/self/status",
        "--read-only": "! touch /file 2>/dev/null",
        "--security-opt": "grep -q 'NoNewPrivs:.1' /proc/self/status",
        "--shm-size": "df -k /dev/shm | grep -q 32768",
        "--sysctl": "grep -qx 61 /proc/sys/net/ipv4/ip_default_ttl",
        "--tmpfs": "df -k /t | grep -q 1024",
        "--tty": "test -t 1",
        "--ulimit": "test $(ulimit -n) = 512",
        "--user": "test $(id -u):$(id -g) = 1000:1000",
        "--userns": "test $(readlink /proc/self/ns/user) != '{user_namespace}'",
        "--uts": "test $(readlink /proc/self/ns/uts) = '{uts_namespace}'",
        "--volume": "grep -q ' /data ' /proc/mounts",
        "--volume-driver": "grep -q ' /data ' /proc/mounts",
        "--volumes-from": "grep -q ' /shared ' /proc/mounts",
        "--workdir": "test $PWD = /tmp",
    },
    "exec": {
        "--env": "test $A = b",
        "--env-file": "test $FROM_FILE = yes",
        "--privileged": _CAPABLE,
        "--tty": "test -t 1",
        "--user": "test $(id -u) = 1000",
        "--workdir": "test $PWD = /tmp",
    },
    "update": LIMITS
    | {
        "--cpu-quota": _limit("cpu/cpu.cfs_quota_us", "cpu.max", "-1", "max .*"),
        "--memory-swap": _limit(
            "memory/memory.memsw.limit_in_bytes", "memory.swap.max", str(96 << 20), str(32 << 20)
        ),
    },
}

_SECOND_NS = 1_000_000_000
RECORDED: dict[str, tuple[str, object]] = {
    "--annotation": ("HostConfig.Annotations", {"org.example.a": "b"}),
    "--entrypoint": ("Config.Entrypoint", ["/bin/true"]),
    "--health-cmd": ("Config.Healthcheck.Test", ["CMD-SHELL", "true"]),
    "--health-interval": ("Config.Healthcheck.Interval", 5 * _SECOND_NS),
    "--health-retries": ("Config.Healthcheck.Retries", 2),
    "--health-start-interval": ("Config.Healthcheck.StartInterval", _SECOND_NS),
    "--health-start-period": ("Config.Healthcheck.StartPeriod", 3 * _SECOND_NS),
    "--health-timeout": ("Config.Healthcheck.Timeout", 2 * _SECOND_NS),
    "--init": ("HostConfig.Init", True),
    "--interactive": ("Config.OpenStdin", True),
    "--label": ("Config.Labels", {"a": "b"}),
    "--label-file": ("Config.Labels", {"a": "b"}),
    "--log-driver": ("HostConfig.LogConfig.Type", "none"),
    "--log-opt": ("HostConfig.LogConfig.Config", {"max-size": "1m"}),
    "--name": ("Name", "/flagged"),
    "--publish-all": ("HostConfig.PublishAllPorts", True),
    "--restart": ("HostConfig.RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 2}),
    "--runtime": ("HostConfig.Runtime", "runc"),
    "--stop-signal": ("Config.StopSignal", "INT"),
    "--stop-timeout": ("Config.StopTimeout", 3),
}
"""Of `create`: a path into what `inspect` prints, and what has to be there."""
