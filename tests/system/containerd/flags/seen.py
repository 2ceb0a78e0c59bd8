"""How a flag of `run` is seen from inside the container: a script that ends well if it is."""

from __future__ import annotations

SEEN = {
    "--add-host": "grep -q '10.0.0.7.*db' /etc/hosts",
    "--cap-add": "test $((0x$(sed -n 's/CapEff:\\t//p' /proc/self/status) >> 12 & 1)) = 1",
    "--cap-drop": "grep -q 'CapEff:.0000000000000000' /proc/self/status",
    "--device": "test -c /dev/other",
    "--dns": "grep -q 'nameserver 10.0.0.2' /etc/resolv.conf",
    "--dns-option": "grep -q ndots:2 /etc/resolv.conf",
    "--dns-search": "grep -q example.org /etc/resolv.conf",
    "--domainname": "grep -q example.org /proc/sys/kernel/domainname",
    "--env": "test $A = b",
    "--env-file": "test $FROM_FILE = yes",
    "--group-add": "grep -q 'Groups:.*27' /proc/self/status",
    "--hostname": "test $(hostname) = web",
    "--ip": "ip address show | grep -q 10.213.7.9",
    "--mac-address": "ip link show | grep -q 02:42:0a:d5:07:09",
    "--mount": "grep -q ' /t tmpfs' /proc/mounts",
    "--network": "test $(ls /sys/class/net | wc -w) = 1",
    "--oom-score-adj": "test $(cat /proc/self/oom_score_adj) = 100",
    "--pid": "test $(ls -d /proc/[0-9]* | wc -l) -gt 10",
    "--read-only": "! touch /file 2>/dev/null",
    "--security-opt": "grep -q 'NoNewPrivs:.1' /proc/self/status",
    "--shm-size": "df -k /dev/shm | grep -q 32768",
    "--tmpfs": "df -k /t | grep -q 1024",
    "--tty": "test -t 1",
    "--ulimit": "test $(ulimit -n) = 512",
    "--user": "test $(id -u):$(id -g) = 1000:1000",
    "--volume": "grep -q ' /data ' /proc/mounts",
    "--volumes-from": "grep -q ' /shared ' /proc/mounts",
    "--workdir": "test $PWD = /tmp",
}
