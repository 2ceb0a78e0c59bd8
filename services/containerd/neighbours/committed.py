"""What an image that is made of a container starts: what the container was started with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.image.v1 import image_pb2
from services.containerd.model.spec import MountKind
from services.containerd.ocispec import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec


def configuration(spec: ContainerSpec, image: ImageConfig) -> image_pb2.ImageConfig:
    """Return the container's configuration, which as with docker is what the image's is and what its user changed."""
    anonymous = [mount.target for mount in spec.mounts if mount.kind is MountKind.VOLUME and not mount.source]
    return image_pb2.ImageConfig(
        user=resolve.user(spec, image),
        exposed_ports=dict.fromkeys([*image.exposed_ports, *spec.network.expose, *_published(spec)]),
        env=resolve.merged_environment(spec, image),
        entrypoint=image.entrypoint if spec.entrypoint is None else spec.entrypoint,
        cmd=resolve.arguments(spec, image),
        volumes=dict.fromkeys([*image.volumes, *anonymous]),
        working_dir=spec.workdir or image.workdir,
        labels=resolve.labels(spec, image),
        stop_signal=spec.stop_signal or image.stop_signal,
        healthcheck=_health(spec, image),
    )


def _published(spec: ContainerSpec) -> Iterator[str]:
    for port in spec.network.ports:
        for number in range(port.container_port, max(port.container_port, port.container_port_end) + 1):
            yield f"{number}/{port.protocol or 'tcp'}"


def _health(spec: ContainerSpec, image: ImageConfig) -> image_pb2.HealthConfig | None:
    if spec.health is not None and spec.health.test == ("NONE",):
        return image_pb2.HealthConfig(test=spec.health.test)
    health = resolve.health(spec, image)
    if health is None:
        return None
    return image_pb2.HealthConfig(
        test=health.test,
        interval_ms=round(health.interval_s * 1000),
        timeout_ms=round(health.timeout_s * 1000),
        start_period_ms=round(health.start_period_s * 1000),
        start_interval_ms=round(health.start_interval_s * 1000),
        retries=health.retries,
    )
