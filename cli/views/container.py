"""Containers, as `ps` lists them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2 as spec_pb
from cli.views import ports
from cli.views.values import ago, go_time, label_list, shorten, since, size_pair

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DEFAULT = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
WITH_SIZE = DEFAULT + "\t{{.Size}}"
HEADERS: Mapping[str, str] = {
    "ID": "CONTAINER ID",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "HealthStatus": "HEALTH STATUS",
    "Platform": "PLATFORM",
}
COMMAND_WIDTH = 20
DEFAULT_REGISTRIES = ("docker.io/", "index.docker.io/")
MOUNT_WIDTH = 15
_STATES = {
    pb.CONTAINER_STATE_UNSPECIFIED: "unknown",
    pb.CONTAINER_STATE_CREATED: "created",
    pb.CONTAINER_STATE_RUNNING: "running",
    pb.CONTAINER_STATE_PAUSED: "paused",
    pb.CONTAINER_STATE_RESTARTING: "restarting",
    pb.CONTAINER_STATE_REMOVING: "removing",
    pb.CONTAINER_STATE_EXITED: "exited",
    pb.CONTAINER_STATE_DEAD: "dead",
}
_HEALTH = {
    pb.HEALTH_STATE_UNSPECIFIED: "",
    pb.HEALTH_STATE_STARTING: "starting",
    pb.HEALTH_STATE_HEALTHY: "healthy",
    pb.HEALTH_STATE_UNHEALTHY: "unhealthy",
}
LIVE = frozenset({pb.CONTAINER_STATE_RUNNING, pb.CONTAINER_STATE_PAUSED, pb.CONTAINER_STATE_RESTARTING})


def state(container: pb.Container) -> str:
    """Name the state: running, exited, …"""
    return _STATES.get(container.status.state, "unknown")


def health(container: pb.Container) -> str:
    """Name the health: healthy, …; empty without a health check."""
    return _HEALTH.get(container.status.health.state, "")


def status(container: pb.Container, now: datetime) -> str:
    """Describe the state for people: "Up 5 minutes (healthy)", "Exited (0) 2 hours ago"."""
    observed = container.status
    match observed.state:
        case pb.CONTAINER_STATE_RUNNING | pb.CONTAINER_STATE_PAUSED:
            up = f"Up {since(observed.started_at, now)}"
            if observed.state == pb.CONTAINER_STATE_PAUSED:
                return f"{up} (Paused)"
            named = health(container)
            return f"{up} ({'health: ' if named == 'starting' else ''}{named})" if named else up
        case pb.CONTAINER_STATE_RESTARTING:
            return f"Restarting ({observed.exit_code}) {ago(observed.finished_at, now)}"
        case pb.CONTAINER_STATE_EXITED:
            return f"Exited ({observed.exit_code}) {ago(observed.finished_at, now)}"
        case pb.CONTAINER_STATE_REMOVING:
            return "Removal In Progress"
        case _:
            return state(container).capitalize()


def image(container: pb.Container, *, full: bool) -> str:
    """Name the image: as it was given if `full`, otherwise short: no digest, no default registry, an id is cut."""
    given = container.spec.image
    if full:
        return given
    digits = container.image_id.removeprefix("sha256:")
    if digits and digits.startswith(given.removeprefix("sha256:")):
        return digits[:12]
    named = given.partition("@")[0]
    for registry in DEFAULT_REGISTRIES:
        if named.startswith(registry):
            return named.removeprefix(registry).removeprefix("library/")
    return named


def command(container: pb.Container, *, full: bool) -> str:
    """Quote the command that runs; an argument with spaces is seen to be one."""
    program, arguments = container.argv[:1], container.argv[1:]
    words = [*program, *(f"'{word}'" if " " in word else word for word in arguments)]
    return json.dumps(shorten(" ".join(words), COMMAND_WIDTH, full=full), ensure_ascii=False)


def networks(container: pb.Container) -> list[str]:
    """Name the networks: those it is in, or those it will be in."""
    joined = [endpoint.network for endpoint in container.status.network.endpoints]
    asked = container.spec.network
    return joined or [endpoint.network for endpoint in asked.endpoints] or [asked.mode or "bridge"]


def row(container: pb.Container, now: datetime, *, full: bool) -> dict[str, Any]:
    """Make a row of `ps`."""
    asked = container.spec
    mounts = [
        point.name or point.source
        for point in container.mount_points
        if point.type != spec_pb.MOUNT_TYPE_TMPFS
    ]
    shown_ports = ""
    if container.status.state in LIVE:
        shown_ports = ports.listed(container.status.network.ports, asked.network.expose)
    return {
        "ID": container.id if full else container.id[:12],
        "Names": container.name,
        "Image": image(container, full=full),
        "Command": command(container, full=full),
        "CreatedAt": go_time(container.created_at),
        "RunningFor": ago(container.created_at, now),
        "Ports": shown_ports,
        "State": state(container),
        "Status": status(container, now),
        "Size": size_pair(container.size_rw_bytes, container.size_root_bytes),
        "Labels": label_list(asked.labels),
        "Label": lambda name: asked.labels.get(name, ""),
        "Mounts": ",".join(shorten(name, MOUNT_WIDTH, full=full) for name in mounts),
        "LocalVolumes": str(sum(bool(point.name) for point in container.mount_points)),
        "Networks": ",".join(networks(container)),
        "HealthStatus": health(container),
        "Platform": asked.platform or "linux",
    }
