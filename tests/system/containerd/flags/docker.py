"""The flags that docker's documented command line has (2026-08), by command."""

from __future__ import annotations

_FLAGS = """
run: -P -a --add-host --annotation --attach --blkio-weight --blkio-weight-device -c --cap-add --cap-drop
    --cgroup-parent --cgroupns --cidfile --cpu-count --cpu-percent --cpu-period --cpu-quota --cpu-rt-period
    --cpu-rt-runtime --cpu-shares --cpus --cpuset-cpus --cpuset-mems -d --detach --detach-keys --device
    --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns
    --dns-option --dns-search --domainname -e --entrypoint --env --env-file --expose --gpus --group-add -h
    --health-cmd --health-interval --health-retries --health-start-interval --health-start-period
    --health-timeout --hostname -i --init --interactive --io-maxbandwidth --io-maxiops --ip --ip6 --ipc
    --isolation -l --label --label-file --link --link-local-ip --log-driver --log-opt -m --mac-address
    --memory --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias
    --no-healthcheck --oom-kill-disable --oom-score-adj -p --pid --pids-limit --platform --privileged
    --publish --publish-all --pull -q --quiet --read-only --restart --rm --runtime --security-opt --shm-size
    --sig-proxy --stop-signal --stop-timeout --storage-opt --sysctl -t --tmpfs --tty -u --ulimit
    --use-api-socket --user --userns --uts -v --volume --volume-driver --volumes-from -w --workdir
create: -P -a --add-host --annotation --attach --blkio-weight --blkio-weight-device -c --cap-add --cap-drop
    --cgroup-parent --cgroupns --cidfile --cpu-count --cpu-percent --cpu-period --cpu-quota --cpu-rt-period
    --cpu-rt-runtime --cpu-shares --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule
    --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option
    --dns-search --domainname -e --entrypoint --env --env-file --expose --gpus --group-add -h --health-cmd
    --health-interval --health-retries --health-start-interval --health-start-period --health-timeout
    --hostname -i --init --interactive --io-maxbandwidth --io-maxiops --ip --ip6 --ipc --isolation -l
    --label --label-file --link --link-local-ip --log-driver --log-opt -m --mac-address --memory
    --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias
    --no-healthcheck --oom-kill-disable --oom-score-adj -p --pid --pids-limit --platform --privileged
    --publish --publish-all --pull -q --quiet --read-only --restart --rm --runtime --security-opt --shm-size
    --stop-signal --stop-timeout --storage-opt --sysctl -t --tmpfs --tty -u --ulimit --use-api-socket --user
    --userns --uts -v --volume --volume-driver --volumes-from -w --workdir
exec: -d --detach --detach-keys -e --env --env-file -i --interactive --privileged -t --tty -u --user -w
    --workdir
update: --blkio-weight -c --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares --cpus
    --cpuset-cpus --cpuset-mems -m --memory --memory-reservation --memory-swap --pids-limit --restart
logs: --details -f --follow -n --since -t --tail --timestamps --until
cp: -L -a --archive --follow-link -q --quiet
stats: -a --all --format --no-stream --no-trunc
events: -f --filter --format --since --until
volume create: --availability -d --driver --group --label --limit-bytes -o --opt --required-bytes --scope
    --secret --sharing --topology-preferred --topology-required --type
volume inspect: -f --format
volume ls: --cluster -f --filter --format -q --quiet
volume prune: -a --all -f --filter --force
volume rm: -f --force
"""


def _read() -> dict[str, frozenset[str]]:
    """Return the flags; a line that is indented goes on with the command above it."""
    found: dict[str, set[str]] = {}
    for line in _FLAGS.strip().splitlines():
        name, colon, flags = line.rpartition(":")
        flagged = found.setdefault(name, set()) if colon else found[next(reversed(found))]
        flagged.update(flags.split())
    return {name: frozenset(flags) for name, flags in found.items()}


DOCKER = _read()
