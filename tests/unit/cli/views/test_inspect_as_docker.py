"""`inspect` beside what docker (engine 20.10, client 28.2) showed of containers that the same command lines made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from cli.format.values import plain
from cli.views import container_inspect
from tests.unit.cli.specs.commands import run_spec

DOCKER: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden/docker_inspect.json").read_text()
)
LINES = {
    "plain": "-d bb:1 sleep 10000",
    "many": "-d --name many -l b=two -l a=one -e A=b -e 'C=d e' -p 127.0.0.1:18080:80 -p 18081:81/udp -v vol:/data"
    " -v /srv/b:/b:ro -v /anon --tmpfs /t:size=1m -m 64m --cpus 0.5 --pids-limit 50 --cap-add NET_ADMIN"
    " --cap-drop MKNOD --restart on-failure:3 --health-cmd true --health-interval 5s --stop-signal INT"
    " --stop-timeout 3 -h web -u 0:0 -w /tmp --ulimit nofile=512:512 --device /dev/null:/dev/other --dns 10.0.0.2"
    " --add-host db:10.0.0.7 --expose 90 --sysctl net.ipv4.ip_default_ttl=61 --security-opt no-new-privileges"
    " --shm-size 32m --group-add 27 --entrypoint sleep bb:1 10000",
}
NOT_OURS = {".HostConfig.KernelMemory", ".HostConfig.KernelMemoryTCP"}
"""What kernels and later versions of docker do not have any more."""
ONLY_OURS = {
    ".BundlePath",
    ".NetworkSettings.Networks.bridge.GwPriority",
    ".NetworkSettings.Networks.bridge.DNSNames",
}
"""The bundle, and what later versions of docker have."""
OTHERWISE = {
    ".Config.StopSignal",  # the one in force, also when nobody gave it
    ".Config.WorkingDir",  # likewise
    ".Driver",
    ".GraphDriver.Name",
    ".HostConfig.CgroupnsMode",  # empty is the node's own
    ".HostConfig.LogConfig.Type",
    ".HostConfig.NetworkMode",
    ".HostConfig.Runtime",
    ".HostConfig.Tmpfs./t",  # in bytes
}
"""Values that differ by design."""
ASKED = (".Config", ".HostConfig")
"""Whose values follow from the command line; the others are of one run."""


def container(line: str) -> pb.Container:
    """Return what the daemon would show, running."""
    spec = run_spec(line)
    spec.network.mode = spec.network.mode or "bridge"
    spec.working_dir = spec.working_dir or "/"
    spec.stop_signal = spec.stop_signal or "SIGTERM"
    mounts = [mount for mount in spec.mounts if mount.type != spec_pb2.MOUNT_TYPE_TMPFS]
    return pb.Container(
        id=DOCKER["many" if "many" in line else "plain"]["Id"],
        name=spec.name,
        argv=["sleep", "10000"],
        spec=spec,
        masked_paths=["/proc/kcore"],
        readonly_paths=["/proc/sys"],
        root_layers=pb.RootLayers(lower_dirs=["/1", "/0"], upper_dir="/u", work_dir="/w", merged_dir="/m"),
        mount_points=[
            pb.MountPoint(
                type=mount.type,
                name="" if mount.type == spec_pb2.MOUNT_TYPE_BIND else mount.source or "0" * 64,
                driver="local",
                source="/somewhere",
                destination=mount.target,
                read_only=mount.read_only,
                anonymous=not mount.source,
            )
            for mount in mounts
        ],
        status=pb.ContainerStatus(
            state=pb.CONTAINER_STATE_RUNNING,
            health=pb.Health(state=pb.HEALTH_STATE_HEALTHY, log=[pb.HealthResult()])
            if spec.HasField("health")
            else None,
            network=pb.NetworkStatus(
                netns_path="/ns", ports=spec.network.ports, endpoints=[pb.EndpointStatus(network="bridge")]
            ),
        ),
    )


def differences(path: str, docker: Any, ours: Any) -> list[str]:
    """Name keys that one has alone, values of another type, and of what was asked, other values."""
    if isinstance(docker, dict) and isinstance(ours, dict):
        alone = [f"{path}.{key}" for key in docker.keys() ^ ours.keys()]
        return alone + [
            found
            for key in docker.keys() & ours.keys()
            for found in differences(f"{path}.{key}", docker[key], ours[key])
        ]
    if type(docker) is not type(ours) or (path.startswith(ASKED) and docker != ours):
        return [path]
    if path == ".Mounts":
        by_target = [{mount["Destination"]: mount for mount in mounts} for mounts in (docker, ours)]
        return differences(".Mounts.", *by_target)
    return []


@pytest.mark.parametrize("name", DOCKER)
def test_the_documents_are_docker_s(name: str) -> None:
    ours = plain(container_inspect.inspect(container(LINES[name]), size=False))
    docker = DOCKER[name]
    for document in (docker, ours):
        document["HostConfig"]["Binds"] = sorted(document["HostConfig"]["Binds"] or ()) or None  # type: ignore[index]
        for paths in ("MaskedPaths", "ReadonlyPaths"):
            assert document["HostConfig"].pop(paths)  # type: ignore[index]
    found = set(differences("", docker, ours))
    assert found <= NOT_OURS | ONLY_OURS | OTHERWISE, found - NOT_OURS - ONLY_OURS - OTHERWISE
