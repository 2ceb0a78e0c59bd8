"""A container's record and events to the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.container.v1 import container_pb2
from services.containerd.api import spec_to_pb
from services.containerd.model.spec import MountKind
from services.containerd.model.status import HealthState, State
from services.containerd.ocispec import resolve
from services.containerd.volumes.core.volume import LOCAL

if TYPE_CHECKING:
    from datetime import datetime

    from services.containerd.model.mounts import MountPoint
    from services.containerd.model.status import Health, NetworkStatus, Record
    from services.containerd.runtime.layout import Layout
    from services.kit.events import Event

_STATES = {
    State.CREATED: container_pb2.CONTAINER_STATE_CREATED,
    State.RUNNING: container_pb2.CONTAINER_STATE_RUNNING,
    State.PAUSED: container_pb2.CONTAINER_STATE_PAUSED,
    State.RESTARTING: container_pb2.CONTAINER_STATE_RESTARTING,
    State.REMOVING: container_pb2.CONTAINER_STATE_REMOVING,
    State.EXITED: container_pb2.CONTAINER_STATE_EXITED,
    State.DEAD: container_pb2.CONTAINER_STATE_DEAD,
}
_HEALTH_STATES = {
    HealthState.STARTING: container_pb2.HEALTH_STATE_STARTING,
    HealthState.HEALTHY: container_pb2.HEALTH_STATE_HEALTHY,
    HealthState.UNHEALTHY: container_pb2.HEALTH_STATE_UNHEALTHY,
}


def timestamp(at: datetime | None) -> Timestamp | None:
    """Return a moment, None for none."""
    if at is None:
        return None
    moment = Timestamp()
    moment.FromDatetime(at)
    return moment


def container(record: Record, layout: Layout, *, log_in_files: bool) -> container_pb2.Container:
    """Return all that is known of a container. What its image adds to the specification is filled in."""
    spec, image = record.spec, record.image
    filled = spec_to_pb.container(record.name, spec)
    filled.labels.update(resolve.labels(spec, image))
    filled.env[:] = resolve.merged_environment(spec, image)
    filled.entrypoint[:] = spec.entrypoint if spec.entrypoint is not None else image.entrypoint
    filled.cmd[:] = resolve.arguments(spec, image)
    filled.stop_signal = resolve.stop_signal(spec, image)
    filled.working_dir = resolve.workdir(spec, image)
    filled.user = resolve.user(spec, image)
    return container_pb2.Container(
        id=record.id,
        name=record.name,
        spec=filled,
        status=_status(record),
        created_at=timestamp(record.created_at),
        image_id=image.id,
        runtime=record.status.runtime,
        log_path=str(layout.log(record.id)) if log_in_files else "",
        bundle_path=str(layout.bundle(record.id).path),
        argv=resolve.command(spec, image).argv,
        mount_points=[_mount_point(point, layout) for point in record.mounts],
    )


def _mount_point(point: MountPoint, layout: Layout) -> container_pb2.MountPoint:
    mount = point.mount
    volume = mount.kind is MountKind.VOLUME
    return container_pb2.MountPoint(
        type=spec_to_pb.MOUNT_TYPES[mount.kind],
        name=mount.source if volume else "",
        source=str(layout.volume_place(mount.source)) if volume else mount.source,
        destination=mount.target,
        driver=(mount.volume_driver or LOCAL) if volume else "",
        read_only=mount.read_only,
        propagation=mount.propagation or ("rprivate" if mount.kind is MountKind.BIND else ""),
        anonymous=point.anonymous,
    )


def event(item: Event) -> container_pb2.Event:
    """Return an event."""
    return container_pb2.Event(
        time=timestamp(item.at),
        type=item.type,
        action=item.action,
        id=item.id,
        attributes=dict(item.attributes),
    )


def health(observed: Health) -> container_pb2.Health:
    """Return how a health check went."""
    return container_pb2.Health(
        state=_HEALTH_STATES[observed.state],
        failing_streak=observed.failing_streak,
        log=[
            container_pb2.HealthResult(
                started_at=timestamp(result.started_at),
                finished_at=timestamp(result.ended_at),
                exit_code=result.exit_code,
                output=result.output,
            )
            for result in observed.log
        ],
    )


def _status(record: Record) -> container_pb2.ContainerStatus:
    status = record.status
    network = status.run.network if status.run is not None else None
    return container_pb2.ContainerStatus(
        state=_STATES[status.state],
        pid=status.run.init.pid if status.run is not None and status.state is not State.EXITED else 0,
        exit_code=status.exit_code,
        oom_killed=status.oom_killed,
        error=status.error,
        started_at=timestamp(status.started_at),
        finished_at=timestamp(status.finished_at),
        restart_count=status.restart_count,
        health=health(status.health) if status.health is not None else None,
        network=_network(network) if network is not None else None,
        held_by=status.held_by,
    )


def _network(network: NetworkStatus) -> container_pb2.NetworkStatus:
    return container_pb2.NetworkStatus(
        netns_path=network.netns_path,
        endpoints=[
            container_pb2.EndpointStatus(
                id=endpoint.id,
                network=endpoint.network,
                network_id=endpoint.network_id,
                ip=endpoint.ip,
                prefix_length=endpoint.prefix_length,
                gateway=endpoint.gateway,
                mac=endpoint.mac,
                aliases=endpoint.aliases,
            )
            for endpoint in network.endpoints
        ],
        ports=[spec_to_pb.port(binding) for binding in network.ports],
        hosts_path=network.hosts_path,
        resolv_conf_path=network.resolv_conf_path,
        hostname_path=network.hostname_path,
    )
