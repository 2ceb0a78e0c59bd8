"""Where something is mounted into a container, whatever it is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.containerd.model.status import Record

_OF_EACH = (
    "/dev",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",  # noqa: S108 (named, not written to)
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sbin/docker-init",
    "/sys",
    "/sys/fs/cgroup",
)


def of(record: Record) -> tuple[str, ...]:
    """Return the paths at which the container's writable layer shows nothing, and may hold what is mounted on."""
    spec = record.spec
    paths = {
        *_OF_EACH,
        *(point.mount.target for point in record.mounts),
        *(file.path for file in spec.files),
        *(device.container_path or device.host_path for device in spec.security.devices),
    }
    return tuple(sorted(paths))
